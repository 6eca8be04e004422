package translator

import (
	"fmt"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// An HTTPRouteFilter may add conditions to the matches of a rule: a request must fulfill one of them and one of the
// matches. So each match has a route with each of the conditions.

// conditions are those of which requests must fulfill one: an empty one if the rule has none, or fails for everything.
func (b *boundRule) conditions() []feature.Condition {
	if conditions := b.rules.Rules[b.rule].Conditions; len(conditions) > 0 && !b.collapsed && b.answer == "" {
		return conditions
	}
	return []feature.Condition{{}}
}

// matchesRoutes are the routes of one match with each of the conditions.
func (t *Tables) matchesRoutes(b *bindingRow, bound *boundRule, match *gwapiv1.HTTPRouteMatch, m int, conditions []feature.Condition) (
	entries []ruleEntry,
) {
	for i, also := range conditions {
		suffix := ""
		if len(conditions) > 1 {
			suffix = fmt.Sprintf("/condition/%d", i)
		}
		order := bound.rules.Route.Kind.precedence(bound.rules.Route, bound.rule, m)
		order.match, order.condition, order.cookies, order.exactCookies = m, i, len(also.Cookies), also.Exact
		entries = append(entries, t.matchRoutes(b, bound, match, order, suffix)...)
	}
	return entries
}
