package policies

import (
	"fmt"
	"slices"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Envoy forwards the connections of TLSRoutes and TCPRoutes, and the datagrams of UDPRoutes, without reading them. Most
// features are about requests, and do nothing there.

// reasonOfRequests is the reason of condition FieldsEffective if fields are about requests and a target has none.
const reasonOfRequests = "OnlyForRequests"

// reasonOfConnections is that reason if Envoy does not have the fields for datagrams.
const reasonOfConnections = "NotForDatagrams"

// forwarded are the kinds of routes whose content Envoy does not read, and whether it is datagrams.
var forwarded = map[string]bool{"TLSRoute": false, "TCPRoute": false, "UDPRoute": true}

// checkForwarded finds the fields that have no effect on those targets of a policy whose content Envoy does not read.
func (k Kind) checkForwarded(p Object) (problems []verdict.Problem) {
	for _, target := range k.kindsOfTargets(p) {
		datagrams, ok := forwarded[target]
		if !ok {
			continue
		}
		for _, field := range k.idleOn(p, datagrams) {
			if datagrams {
				problems = append(problems, feature.WithoutEffect(SpecField+"."+field, reasonOfConnections,
					"Envoy does not have this for datagrams, so it has no effect on a %s: leave it out or choose another target", target))
			} else {
				problems = append(problems, feature.WithoutEffect(SpecField+"."+field, reasonOfRequests,
					"this is about requests, which Envoy does not read for a %s, so it has no effect there: leave it out or choose "+
						"another target", target))
			}
		}
	}
	return problems
}

// kindsOfTargets are the kinds that a policy targets or selects, each once, sorted.
func (k Kind) kindsOfTargets(p Object) (kinds []string) {
	for _, ref := range References(k, p) {
		kinds = append(kinds, ref.Kind)
	}
	for _, s := range p.GetTargets().TargetSelectors {
		kinds = append(kinds, string(s.Kind))
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// idleOn lists the fields of a policy, relative to its spec, that shape requests but not connections or datagrams.
func (k Kind) idleOn(p Object, datagrams bool) []string {
	return k.IdleWhere(p, func(p Object) string { return k.ofConnections(p, datagrams) })
}

// IdleWhere lists the fields of a policy, relative to its spec, that shape requests, but change nothing of what here encodes.
func (k Kind) IdleWhere(p Object, here func(Object) string) []string {
	does := func(spec map[string]any) effects {
		policy := k.New()
		encoded(map[string]any{SpecField: spec}, policy)
		return effects{here: here(policy), elsewhere: k.ofRequests(policy)}
	}
	spec, ok := decoded(p)[SpecField].(map[string]any)
	if !ok {
		return nil
	}
	return idle(spec, does)
}

// ofRequests encodes what a policy does to requests.
func (k Kind) ofRequests(p Object) string {
	u := feature.NewUpstream()
	k.Cluster(p, feature.Have{}, u)
	return string(Settings(u)) + routeBy(k, p, feature.Have{})
}

// ofConnections encodes what a policy does to connections or datagrams.
func (k Kind) ofConnections(p Object, datagrams bool) string {
	u := feature.NewUpstream()
	k.Cluster(p, feature.Have{}, u)
	u.HTTP, u.HTTP2 = feature.NewUpstream().HTTP, nil
	for _, t := range u.Cluster.GetCircuitBreakers().GetThresholds() {
		t.MaxRequests, t.MaxRetries, t.RetryBudget = nil, nil, nil
	}
	var connection feature.Connection
	k.Connection(p, feature.Have{}, &connection)
	if datagrams {
		u.LimitToDatagrams()
		c := u.Cluster
		c.ConnectTimeout, c.PerConnectionBufferLimitBytes, c.UpstreamConnectionOptions = nil, nil, nil
		c.PreconnectPolicy = nil
		connection.Retries = nil
	}
	out := string(Settings(u)) + fmt.Sprint(connection.HashSource, connection.Unprotected, connection.StatName)
	if connection.Retries != nil {
		out += fmt.Sprint(" retries ", *connection.Retries)
	}
	if connection.Sources != nil {
		out += fmt.Sprint(" sources ", *connection.Sources)
	}
	return out
}
