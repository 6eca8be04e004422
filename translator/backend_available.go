package translator

import (
	"fmt"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

const (
	// conditionBackends is False on a route with a backend that exists but cannot take requests. Gateway API has no
	// condition for this; the name is Envoy Gateway's.
	conditionBackends = "BackendsAvailable"
	// reasonNoEndpoints is Envoy Gateway's reason for a backend without endpoints.
	reasonNoEndpoints = "EndpointsNotFound"
	// reasonNoBackends is the reason for a rule that sends nothing to any backend.
	reasonNoBackends = "NoBackends"
)

// populatedPorts lists the ports of a backend that have an endpoint, sorted: it changes when a port gets its first
// endpoint or loses its last.
func (t *Tables) populatedPorts(_ *flow.Read, _ string, members []flow.Row[*discoveryv1.EndpointSlice]) ([]string,
	bool,
) {
	var ports []string
	for _, m := range members {
		if hasNames(m.Value) || !slices.ContainsFunc(m.Value.Endpoints,
			func(e discoveryv1.Endpoint) bool { serves, _ := usable(&e); return serves }) {
			continue // All of its endpoints are gone, or nothing is sent to them.
		}
		for _, p := range m.Value.Ports {
			port := backendPort{Name: deref(p.Name), Protocol: protocolOf(p.Protocol)}
			if _, ok := slicePort(m.Value, port); ok {
				ports = append(ports, populatedPort(port))
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), len(ports) > 0
}

func populatedPort(p backendPort) string {
	return string(p.Protocol) + "/" + p.Name
}

// hasEndpoint reports whether a backend that can be used has an endpoint. It may have one if Envoy asks DNS for its
// name, and an address that is listed counts as one.
func (t *Tables) hasEndpoint(r *flow.Read, b backend) bool {
	if b.To.Discovery != bySlices {
		return true
	}
	ports, _ := t.populated.Get(r, b.To.key())
	return slices.Contains(ports, populatedPort(b.Port))
}

// withoutEndpoints reports the backends of a route that have no endpoint. Only its status says this, because pods are
// created after what refers to them.
func (t *Tables) withoutEndpoints(r *flow.Read, rules *rulesRow) []verdict.Problem {
	var problems []verdict.Problem
	for _, rule := range rules.Rules {
		for _, b := range rule.all() {
			if b.To == nil || t.hasEndpoint(r, b) {
				continue // It has problems of its own, or none.
			}
			p := verdict.Problem{
				Reason: reasonNoEndpoints, Condition: conditionBackends, Weight: verdict.Unresolved,
				Message: fmt.Sprintf("%s has no ready endpoint for port %d, so what is sent to it fails: look at its EndpointSlices and the pods behind it",
					b.To, b.Port.Number),
			}
			if !slices.Contains(problems, p) {
				problems = append(problems, p)
			}
		}
	}
	return problems
}

// checkShares reports a rule that has no backend for its requests and does not answer them itself.
func (row *ruleRow) checkShares(route *routeRow, rule *feature.Rule, field string) *verdict.Problem {
	forwards := func(b gwapiv1.HTTPBackendRef) bool { return b.Weight == nil || *b.Weight > 0 }
	if row.Traits.Answers || slices.ContainsFunc(rule.BackendRefs, forwards) {
		return nil
	}
	p := &verdict.Problem{
		Field: field + ".backendRefs", Reason: reasonNoBackends, Condition: conditionBackends, Weight: verdict.Unresolved,
		Message: fmt.Sprintf("every weight is 0, so the rule %s: give one of the backends a weight", route.Kind.fails()),
	}
	if len(rule.BackendRefs) == 0 {
		p.Message = fmt.Sprintf("there is no backend, so the rule %s: name a backend, or redirect", route.Kind.fails())
	}
	return p
}
