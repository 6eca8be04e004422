package translator

import (
	"cmp"
	"fmt"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// Envoy has a separate route for each match of a rule, each host and each listener, with everything that filters and
// policies say. So a small object may need much memory. The memory is estimated before anything is made. The estimate
// is an upper limit: real Envoys take less (TestEnvoyTakesLessThanEstimated).

// DefaultRouteMemory is the memory in bytes that one route may take of each Envoy of a Gateway, unless the settings say
// otherwise.
const DefaultRouteMemory = 64 << 20

// perRoute is what Envoy needs for a route that does nothing, in bytes. What else it needs is in package feature.
const perRoute = 4 << 10

// ruleCost is what a rule costs an Envoy on one host of one listener, without policies.
type ruleCost struct {
	// routes and asked are how many routes the rule has, and how many of them may have another for their preflights.
	routes, asked int64
	// each is what every route costs, whatever it matches.
	each int64
	// matches and askedMatches are what matching costs those routes, listings what the names of headers in preflights
	// cost besides.
	matches, askedMatches, listings int64
	// tunnels are how many of the routes may have another for tunnels, and tunnelMatches what matching costs those.
	tunnels, tunnelMatches int64
	// session is what requests of a session cost besides in each route, 0 if there are none that have routes of their
	// own.
	session int64
}

// costOf estimates the cost of a rule. If it is illegible, no regular expression of its matches is used.
func costOf(rule *feature.Rule, traits feature.Traits, illegible bool) ruleCost {
	parts, routes := policies.CostOfRule(rule), routesPerMatch(rule, traits)
	c := ruleCost{each: perRoute + feature.PerEntry*int64(len(rule.Filters)) + parts.Route}
	backends, shares := parts.Backends, int64(1)
	for _, b := range rule.BackendRefs {
		backends += feature.PerEntry * int64(2+len(b.Filters))
		if len(b.Filters) > 0 {
			shares = int64(len(rule.BackendRefs)) // The changes of the rule are repeated in each share (feature.Cost, Changes).
		}
	}
	c.each += (backends+parts.Changes*shares)/routes + 1 // Each route has one of the backends then, see byShare.
	if len(rule.BackendRefs) > 1 {
		c.session = parts.Session // Of the second route for requests of a session, see withinSession.
	}
	if c.routes, c.tunnels = routes, routes; len(rule.Matches) > 0 {
		c.addMatches(rule, traits.ReplacesPrefix, illegible)
	}
	c.addConditions(policies.ConditionsOfRule(rule))
	return c
}

// addConditions adds the cost of conditions besides the matches. Each match has its routes with each of them.
func (c *ruleCost) addConditions(conditions []feature.Condition) {
	n := int64(len(conditions))
	if n == 0 {
		return
	}
	var cost int64
	for _, also := range conditions {
		cost += also.Cost
	}
	c.asked, c.askedMatches = c.routes, c.matches+2*feature.PerEntry*c.routes // Preflights have no cookies.
	c.matches, c.routes = n*c.matches+c.routes*cost, n*c.routes
	c.tunnelMatches, c.tunnels = n*c.tunnelMatches+c.tunnels*cost, n*c.tunnels
}

// addMatches adds the cost of the matches. Each match has as many routes as there are now.
func (c *ruleCost) addMatches(rule *feature.Rule, replaced, illegible bool) {
	routes := c.routes
	c.routes, c.tunnels = 0, 0
	for m := range rule.Matches {
		match := &rule.Matches[m]
		cost := matchCost(match)
		if !illegible {
			cost += feature.Expressions(expressionsOf(match)...)
		}
		cost += pathCost(match.Path, replaced)
		c.routes, c.matches = c.routes+routes, c.matches+routes*cost
		if !otherMethod(match) {
			c.tunnels, c.tunnelMatches = c.tunnels+routes, c.tunnelMatches+routes*cost
		}
		if keepsPreflights(match) {
			c.asked, c.askedMatches, c.listings = c.asked+routes, c.askedMatches+routes*(cost+2*feature.PerEntry),
				c.listings+routes*listingsCost(match)
		}
	}
}

// pathCost is the cost of the expressions that are made of a path: one with escapes becomes an expression, see setPath,
// and so does a prefix that is replaced (paths.ReplacePrefix).
func pathCost(path *gwapiv1.HTTPPathMatch, replaced bool) (cost int64) {
	if path == nil || !replaced && !strings.Contains(deref(path.Value), "%") {
		return 0
	}
	value := paths.Value(path)
	pattern, escapes := paths.Pattern(value)
	if escapes && deref(path.Type) != gwapiv1.PathMatchRegularExpression {
		cost += feature.Expressions(pattern + "(?:/.*)?")
	}
	if replaced {
		cost += paths.PrefixCost(value)
	}
	return cost
}

// listingsCost is the cost of looking for the names of the match's headers among those that a preflight asks for.
func listingsCost(match *gwapiv1.HTTPRouteMatch) (cost int64) {
	for _, h := range match.Headers {
		cost += feature.Expressions(listPattern(headerName(h)))
	}
	return cost
}

// whole is the cost of the rule with its policies, whose effects each route has.
func (c *ruleCost) whole(bound *boundRule) int64 {
	each := c.each
	for _, e := range bound.effects {
		if e != nil {
			each += e.Cost
		}
	}
	for _, config := range bound.own {
		each += config.Cost
	}
	cost := c.routes*each + c.matches
	if bound.preflighted() {
		cost += c.asked*each + c.askedMatches + c.listings
	}
	if bound.tunnels() {
		cost += c.tunnels*each + c.tunnelMatches
	}
	if c.session > 0 {
		cost += c.routes*(each+c.session) + c.matches
	}
	return cost
}

// failing is the cost of the rule if it fails and no regular expression of its matches is used, which their texts stand
// for.
func (c *ruleCost) failing(route *feature.Rule) int64 {
	cost := (c.routes+c.asked)*perRoute + c.listings
	conditions := max(len(policies.ConditionsOfRule(route)), 1)
	for m := range route.Matches {
		cost += 2 * int64(conditions) * matchCost(&route.Matches[m])
	}
	return cost
}

// matchCost is the cost of a match, its regular expressions taken as texts.
func matchCost(m *gwapiv1.HTTPRouteMatch) int64 {
	return int64(len(m.Headers)+len(m.QueryParams))*feature.PerEntry + feature.PerText*matchTexts(m)
}

func matchTexts(m *gwapiv1.HTTPRouteMatch) (n int64) {
	if m.Path != nil {
		n += int64(len(deref(m.Path.Value)))
	}
	for _, h := range m.Headers {
		n += int64(len(h.Name) + len(h.Value))
	}
	for _, q := range m.QueryParams {
		n += int64(len(q.Name) + len(q.Value))
	}
	return n
}

// allowance is what the rules of a route may still take on each host of a listener.
type allowance struct {
	left int64
	// filters is what those of the listener have taken of it.
	filters int64
	// copies are the hosts of all listeners of the Gateway, limit is for all of them together, and here are the hosts
	// of this listener.
	copies, here, limit int64
	// collapsed reports whether a rule has failed without any of its matches.
	collapsed bool
}

// allow shares out what a route may take among the hosts of all listeners that it is attached to on the Gateway.
func (t *Tables) allow(r *flow.Read, p *parentRow) allowance {
	a := allowance{limit: t.routeMemory()}
	for _, row := range t.parentsByRoute.Lookup(r, p.Route.Key) {
		for _, l := range row.Value.Listeners {
			if l.Listener.Serves && l.Listener.fleet() == keyOf(p.Gateway.Gateway) {
				a.copies += l.copies()
			}
		}
	}
	a.left = a.limit / max(a.copies, 1)
	return a
}

// routeMemory is what one route may take of each Envoy, in bytes.
func (t *Tables) routeMemory() int64 { return cmp.Or(t.settings.RouteMemory, DefaultRouteMemory) }

// copies is how often a route stands in the listener.
func (a attachedListener) copies() int64 {
	if a.Listener.protocol().layer4 {
		return 1
	}
	return int64(len(a.Hosts))
}

// charge subtracts the cost of a rule. A rule that costs more than is left fails: with the texts of its matches if they
// fit, otherwise for everything that no other route matches.
func (a *allowance) charge(b *bindingRow, bound *boundRule) {
	rule := &bound.rules.Rules[bound.rule]
	whole := rule.Cost.whole(bound)
	if whole <= a.left {
		a.left -= whole
		return
	}
	b.overload(bound, a, whole)
	bound.unmatchable = true
	if failing := rule.Cost.failing(&bound.rules.Route.Rules[bound.rule]); failing <= a.left {
		a.left -= failing
		return
	}
	bound.dropped, bound.collapsed, a.collapsed = a.collapsed, true, true
}

// overload reports that a rule costs more than is left. If enough were left with this listener alone and without its
// filters, the route itself is not wrong.
func (b *bindingRow) overload(bound *boundRule, a *allowance, whole int64) {
	weight := verdict.Invalid
	if spent := a.limit/max(a.copies, 1) - a.left - a.filters; spent+whole <= a.limit/max(a.here, 1) {
		weight = verdict.Unresolved
	}
	route, behind := bound.rules.Route, ""
	if a.filters > 0 {
		behind = fmt.Sprintf(" behind the filters of listener %q", bound.listener.Spec.Name)
	}
	b.withdraw(bound, fmt.Sprintf("matches, filters and policies of the rule would take about %s of each Envoy, where it stands for each of %d hosts of listeners, "+
		"and of the %s that a route may take %s are left%s, so it %s: use fewer matches, hostnames, headers or shorter expressions, fewer listeners, or several routes",
		memory(whole*a.copies), a.copies, memory(a.limit), memory(a.left*a.copies), behind, route.Kind.fails()))
	b.Rejected[len(b.Rejected)-1].Weight = weight
}

// memory is a number of bytes for people.
func memory(bytes int64) string {
	if bytes >= 10<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", max(bytes, 0)>>10)
}
