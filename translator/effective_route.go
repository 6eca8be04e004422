package translator

import (
	"context"
	"fmt"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/effective"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// teller makes the effective configuration of rows. What several routes share is made once.
type teller struct {
	*Tables
	read    *flow.Read
	entries map[string]*effective.Entry
	// owners are the routes that have the server names of listeners of layer 4, see ownersOfHosts.
	owners map[string]map[string]*forwarding
	// merged are the merged policies by the keys of their rows.
	merged map[string]*policies.Merged
}

// tell makes the effective configuration of rows that may be gone. It has at most about most routes. It returns the
// error of ctx if that ends first.
func (t *Tables) tell(ctx context.Context, r *flow.Read, at *touched, most int) (*effective.Configuration, error) {
	x := &teller{
		Tables: t, read: r, entries: map[string]*effective.Entry{}, owners: map[string]map[string]*forwarding{},
		merged: map[string]*policies.Merged{},
	}
	told := &effective.Configuration{}
	for _, key := range slices.Sorted(maps.Keys(at.listeners)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if l, ok := t.listeners.Get(r, key); ok {
			told.Listeners = append(told.Listeners, x.listenerOf(l))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(at.parents)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if told.Cut = len(told.Routes) >= most; told.Cut {
			break
		}
		if p, ok := t.parents.Get(r, key); ok {
			told.Routes = append(told.Routes, x.routesOf(key, p)...)
		}
	}
	return told, nil
}

// routesOf are the rules of a route on the listeners of one parent. Nothing is told of a route that only answers ACME
// servers: no request gets anywhere by it, so rules have nothing to demand of it.
func (x *teller) routesOf(key string, p *parentRow) (routes []*effective.Route) {
	if x.answer(x.read, p.Route) != "" {
		return nil
	}
	rules, _ := x.rulesOf.Get(x.read, p.Route.Key)
	for _, a := range p.Listeners {
		b, bound := x.bindings.Get(x.read, key+"|"+a.Listener.Key)
		if !bound {
			continue // The listener is not served.
		}
		hosts := x.hostsOf(b, a)
		if len(hosts) == 0 {
			continue // Another route has them.
		}
		for i := range rules.Rules {
			route := &effective.Route{
				Kind: string(p.Route.Kind.Name), Namespace: p.Route.Object.GetNamespace(), Name: p.Route.Object.GetName(),
				Labels: p.Route.Object.GetLabels(), Parent: int64(p.Index), Rule: int64(i), Hostnames: hosts, Listener: x.entry(a.Listener),
			}
			x.tellRule(route, p, b, x.resolved(rules, i, a.Listener, b))
			routes = append(routes, route)
		}
	}
	return routes
}

// hostsOf are the hosts of a listener that a binding has.
func (x *teller) hostsOf(b *bindingRow, a attachedListener) []string {
	if b.Forward == nil {
		return convert(b.Hosts, func(h hostRoutes) string { return h.Host })
	}
	key := a.Listener.Key
	if x.owners[key] == nil {
		x.owners[key] = ownersOfHosts(x.forwarded(x.read, a.Listener))
	}
	lost := func(host string) bool { return x.owners[key][host] != b.Forward }
	return slices.DeleteFunc(slices.Clone(b.Forward.Hosts), lost)
}

// resolved is a rule with its policies and clusters, as it is bound to a listener.
func (x *teller) resolved(rules *rulesRow, rule int, l *listenerRow, b *bindingRow) *boundRule {
	bound := &boundRule{rules: rules, rule: rule, listener: l}
	bound.common, _ = x.commons.Get(x.read, b.Config)
	q, _ := x.quarantines.Get(x.read, b.Fleet)
	x.resolve(x.read, &bindingRow{Fleet: b.Fleet}, bound, q)
	bound.rejected = bound.rejected || slices.ContainsFunc(b.Rejected, func(r rejectedRule) bool {
		return r.Route == rules.Route.Key && r.Rule == rule
	})
	return bound
}

// tellRule tells of a rule on a listener.
func (x *teller) tellRule(route *effective.Route, p *parentRow, b *bindingRow, bound *boundRule) {
	spec := &p.Route.Rules[bound.rule]
	route.RuleName, route.Matches = string(deref(spec.Name)), matchesOf(spec)
	route.Closed = x.closedRule(b, bound)
	route.Backends = reachedBackends(bound)
	route.Policies = x.attachedTo(chain(p.Route, bound.rule, bound.listener))
	status, _ := x.routeStatuses.Get(x.read, p.Route.Key)
	route.Problems = effective.ProblemsOf(p.Route.ref(), ofRule(status.Problems, p.Index, bound.rule))

	policies.EffectiveOfGateway(bound.listener.Gateway.Gateway, feature.Have{}, &route.Effective)
	route.Effective.Namespace = bound.listener.owner().GetNamespace()
	policies.EffectiveOfListener(bound.listener.filters(), &route.Effective)
	for _, e := range bound.effects {
		if e == nil {
			continue
		}
		if policy, ok := x.effectivePolicies.Get(x.read, e.Key); ok {
			x.tellPolicy(e.Key, policy, &route.Effective)
			route.Problems = append(route.Problems, effective.ProblemsOf(policy.ref(), policy.Problems)...)
		}
	}
	route.Effective.Namespace = route.Namespace
	policies.EffectiveOfRule(spec, bound.have(), &route.Effective)
	if bound.listener.protocol().layer4 {
		route.OfConnections()
	}
}

// tellPolicy tells of a policy in effect, which may be what several were merged into.
func (x *teller) tellPolicy(key string, p *policyRow, e *feature.Effective) {
	if len(p.Members) > 1 && x.merged[key] == nil {
		x.merged[key], _ = p.Kind.Merge(p.Members) // If they cannot be merged, a problem of the row says so.
	}
	if merged := x.merged[key]; merged != nil {
		merged.Effective(p.Have, e)
		return
	}
	p.Kind.Effective(p.Policy, p.Have, e)
}

// closedRule reports whether nothing of a rule is served.
func (x *teller) closedRule(b *bindingRow, bound *boundRule) bool {
	rule := &bound.rules.Rules[bound.rule]
	switch {
	case bound.closed(), b.Guard != nil && b.Guard.Closed:
		return true
	case b.Forward != nil:
		return len(b.Forward.Clusters) == 0
	case len(rule.Loose) > 0 && !slices.Contains(rule.Loose, false):
		return true
	}
	built := x.envoyRoutes(bound, nil, feature.Condition{})[0]
	return built.GetDirectResponse() != nil && !rule.Traits.Answers
}

// ofRule leaves the problems of a route that concern a rule by one of the parentRefs.
func ofRule(problems []verdict.Problem, parent, rule int) (kept []verdict.Problem) {
	for _, p := range problems {
		of, ofRule := ruleIndex(p.Field)
		if (!ofRule || of == rule) && (p.Scope == "" || p.Scope == fmt.Sprint(parent)) {
			kept = append(kept, p)
		}
	}
	return kept
}

// attachedTo are the policies that are attached to places of a chain.
func (x *teller) attachedTo(chain []policies.Target) (attached []effective.Policy) {
	along := x.winnersAlong(x.read, chain)
	if along.none {
		return nil
	}
	for kind := range policies.Kinds {
		line := along.line(kind)
		seen := map[string]bool{"": true}
		for _, target := range chain {
			key := along.at(kind, target).Key
			if p, ok := x.policies.Get(x.read, key); ok && !seen[key] {
				attached = append(attached, policyOf(p, target, slices.Contains(line, key) && !x.dormant(p.Kind)))
			}
			seen[key] = true
		}
	}
	return attached
}

func policyOf(p *policyRow, target policies.Target, takesEffect bool) effective.Policy {
	return effective.Policy{
		Kind: p.Kind.Kind, Namespace: p.Policy.GetNamespace(), Name: p.Policy.GetName(), Effective: takesEffect,
		Target: effective.Target(target),
	}
}

// reachedBackends are the backends of a rule that can be reached from its listener.
func reachedBackends(bound *boundRule) (told []effective.Backend) {
	for i, b := range bound.rules.Rules[bound.rule].Backends {
		if i >= len(bound.clusters) || bound.clusters[i] == nil || !b.usable() {
			continue
		}
		backend := effective.Backend{
			Kind: b.To.Kind.name, Namespace: b.To.Namespace, Name: b.To.Name, Weight: int64(b.Weight), Fallback: b.Fallback,
		}
		if b.Port.Number != 0 {
			backend.Port = new(int64(b.Port.Number))
		}
		if b.TLS != nil && !bound.listener.protocol().passed() {
			backend.TLS = backendTLSOf(b)
		}
		told = append(told, backend)
	}
	return told
}

func backendTLSOf(b backend) *effective.BackendTLS {
	tls := &effective.BackendTLS{Hostname: b.TLS.Names().SNI, Unverified: b.TLS.Unverified()}
	namespace := b.To.Namespace
	var needs []feature.Need
	if p := b.TLS.Policy; p != nil {
		namespace, needs = p.Namespace, backendtls.Needs(p)
		tls.Policy = &feature.ObjectName{Kind: backendtls.Kind, Namespace: p.Namespace, Name: p.Name}
	} else {
		needs = backendtls.AuthoritiesOf(b.TLS.Own)
	}
	for _, need := range needs {
		tls.Authorities = convert(needed(need.Authorities, namespace), effective.ObjectOf)
	}
	return tls
}

// matchesOf are the matches of a rule, each with each of its conditions.
func matchesOf(rule *feature.Rule) []effective.Match {
	matches, conditions := plainMatches(rule), policies.ConditionsOfRule(rule)
	if len(conditions) == 0 {
		return matches
	}
	if len(matches) == 0 {
		matches = []effective.Match{{}}
	}
	var all []effective.Match
	for _, m := range matches {
		for _, also := range conditions {
			m.Cookies = convert(also.Cookies, func(c *routev3.CookieMatcher) effective.NamedValue {
				if regex := c.StringMatch.GetSafeRegex(); regex != nil {
					return effective.NamedValue{Name: c.Name, Type: string(v1alpha1.CookieMatchRegularExpression), Value: regex.Regex}
				}
				return effective.NamedValue{Name: c.Name, Type: string(v1alpha1.CookieMatchExact), Value: c.StringMatch.GetExact()}
			})
			all = append(all, m)
		}
	}
	return all
}

func plainMatches(rule *feature.Rule) []effective.Match {
	return convert(rule.Matches, func(m gwapiv1.HTTPRouteMatch) effective.Match {
		told := effective.Match{Method: string(deref(m.Method))}
		if m.Path != nil {
			told.Path = &effective.Value{
				Type:  string(*cmpOr(m.Path.Type, new(gwapiv1.PathMatchPathPrefix))),
				Value: *cmpOr(m.Path.Value, new("/")),
			}
		}
		for _, h := range m.Headers {
			told.Headers = append(told.Headers, effective.NamedValue{
				Name: string(h.Name), Type: string(*cmpOr(h.Type, new(gwapiv1.HeaderMatchExact))), Value: h.Value,
			})
		}
		for _, q := range m.QueryParams {
			told.QueryParams = append(told.QueryParams, effective.NamedValue{
				Name: string(q.Name), Type: string(*cmpOr(q.Type, new(gwapiv1.QueryParamMatchExact))), Value: q.Value,
			})
		}
		return told
	})
}
