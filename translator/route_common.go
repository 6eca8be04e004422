package translator

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"gatehouse/policies"
	"gatehouse/translator/flow"
)

// commonRow lists the policies whose filters are configured once in a route configuration, instead of on each route.
// The configuration on a route wins over it, so a route under another policy has the configurations of that policy, and
// switches the other filters off (decision 053).
type commonRow struct {
	// Policies are by the index of their kind.
	Policies []commonPolicy
}

// commonPolicy is a policy whose filters have their configuration in a route configuration.
type commonPolicy struct {
	// Key is that of the policy's row, empty without a policy.
	Key string
	// Filters are the names of the filters, sorted.
	Filters []string
	// Rejected is Envoy's message if it rejected a configuration. Then there are no Filters, and what the policy covers
	// fails.
	Rejected string
}

func (c *commonRow) equal(o *commonRow) bool {
	return slices.EqualFunc(c.Policies, o.Policies, func(a, b commonPolicy) bool {
		return a.Key == b.Key && a.Rejected == b.Rejected && slices.Equal(a.Filters, b.Filters)
	})
}

// common finds the policies of a route configuration. Members are the listeners whose hosts it has. Scopes have no such
// row: a scope is a route configuration of a single host.
func (t *Tables) common(r *flow.Read, _ string, members []flow.Row[*listenerRow]) (*commonRow, bool) {
	members = slices.DeleteFunc(slices.Clone(members), func(m flow.Row[*listenerRow]) bool { return !m.Value.Serves })
	if len(members) == 0 || members[0].Value.Gateway.Scoped {
		return nil, false
	}
	row, found := &commonRow{Policies: make([]commonPolicy, len(policies.Kinds))}, false
	q, _ := t.quarantines.Get(r, members[0].Value.fleet())
	for kind, key := range t.commonKeys(r, members) {
		if key == "" {
			continue
		}
		configs, ok := t.policyFilters.Get(r, key)
		if !ok {
			continue
		}
		p := commonPolicy{Key: key}
		for _, config := range configs {
			p.Filters = append(p.Filters, config.Filter)
			if words, rejected := q[partHash(config.Entry)]; rejected {
				p = commonPolicy{Key: key, Rejected: words}
				break
			}
		}
		row.Policies[kind], found = p, true
	}
	return row, found
}

// commonKeys returns the keys of the policies that are effective on all listeners, or of the policies on their Gateway
// if the listeners differ. They are by the index of their kind, and empty if there is none.
func (t *Tables) commonKeys(r *flow.Read, members []flow.Row[*listenerRow]) []string {
	var keys []string
	for _, m := range members {
		on := t.effectiveKeys(r, m.Value.chain())
		if keys == nil {
			keys = on
		}
		if !slices.Equal(keys, on) {
			return t.effectiveKeys(r, []policies.Target{targetOf(gatewayRef(m.Value.Gateway.Gateway))})
		}
	}
	return keys
}

// policy returns the policy of a kind. It has no key if there is none.
func (c *commonRow) policy(kind int) commonPolicy {
	if c == nil {
		return commonPolicy{}
	}
	return c.Policies[kind]
}

// exempt makes a route skip the filters that the routes have in common.
func (c *commonRow) exempt(route *routev3.Route) {
	for kind := range policies.Kinds {
		switchOff(route, c.policy(kind).Filters)
	}
}

// commonFilters returns the configurations of filters of a route configuration, encoded as fields of it.
func (t *Tables) commonFilters(r *flow.Read, c *commonRow) (fields []byte) {
	for kind := range policies.Kinds {
		if p := c.policy(kind); len(p.Filters) > 0 {
			configs, _ := t.policyFilters.Get(r, p.Key)
			for _, config := range configs {
				fields = appendMessage(fields, fieldFilterConfigs, config.Entry)
			}
		}
	}
	return fields
}

// resolveEffects finds the effects of policies on a rule, and the configurations of filters that its routes need on
// their own. Filters are about requests, so a rule of layer 4 needs none.
func (t *Tables) resolveEffects(r *flow.Read, bound *boundRule) {
	bound.effects = t.effects(r, chain(bound.rules.Route, bound.rule, bound.listener))
	if bound.listener.protocol().layer4 {
		return
	}
	for kind, e := range bound.effects {
		if e != nil && e.Filtered && bound.common.policy(kind).Key != e.Key {
			configs, _ := t.policyFilters.Get(r, e.Key)
			bound.own = append(bound.own, configs...)
		}
	}
}

// policed sets the effects of policies on a route of the rule.
func (b *boundRule) policed(route *routev3.Route) {
	for kind, e := range b.effects {
		if e != nil {
			e.on(route, b.statName())
		}
		if common := b.common.policy(kind); e == nil || common.Key != e.Key {
			switchOff(route, common.Filters)
		}
	}
	for _, config := range b.own {
		setFilter(route, config.Filter, config.Config)
	}
}

// rejectedCommon returns Envoy's message if Envoy rejected what a policy of the rule has in the route configuration.
func (b *boundRule) rejectedCommon() (words string, rejected bool) {
	for kind, e := range b.effects {
		if common := b.common.policy(kind); e != nil && common.Key == e.Key && common.Rejected != "" {
			return common.Rejected, true
		}
	}
	return "", false
}
