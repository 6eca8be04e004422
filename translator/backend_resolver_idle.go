package translator

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// A rule whose endpoint is the host of each request has no endpoints to choose between. What is said about the choice has
// no effect there, and the condition FieldsEffective says so (decision 102).

// reasonHosts is the reason of the condition.
const reasonHosts = "EndpointFromHost"

// toHosts reports whether the endpoint of the rule is the host of each request.
func (row *ruleRow) toHosts() bool { return len(row.Backends) == 1 && row.Backends[0].byRequest() }

// withoutChoice finds sessions of a rule that cannot keep to an endpoint.
func (row *ruleRow) withoutChoice(rule *feature.Rule, field string) []verdict.Problem {
	if rule.SessionPersistence == nil || !row.toHosts() {
		return nil
	}
	return []verdict.Problem{feature.WithoutEffect(field+".sessionPersistence", reasonHosts,
		"%s takes the endpoint from the host of each request, so sessions cannot keep to one: leave it out, or choose another backend",
		row.Backends[0].To)}
}

// unusedOnHosts finds the fields of a policy on a route that have no effect on its rules whose endpoint is the host of each
// request. A policy on a Gateway is for other routes too.
func (t *Tables) unusedOnHosts(r *flow.Read, a *attachmentRow) (problems []verdict.Problem) {
	rules, ok := t.rulesOf.Get(r, targetedRoute(a.Target))
	if !ok || !a.Policy.ShapesCluster {
		return nil
	}
	var at []string
	var to backend
	for i := range rules.Rules {
		named := string(deref(rules.Route.Rules[i].Name))
		if rules.Rules[i].toHosts() && (a.Target.Section == "" || a.Target.Section == named) {
			at, to = append(at, fmt.Sprintf("rules[%d]", i)), rules.Rules[i].Backends[0]
		}
	}
	if len(at) == 0 {
		return nil
	}
	kind := a.Policy.Kind
	here := func(p policies.Object) string { return toHost(kind, p, to) }
	for _, field := range kind.IdleWhere(a.Policy.Policy, here) {
		problems = append(problems, feature.WithoutEffect(policies.SpecField+"."+field, reasonHosts,
			"%s takes the endpoint from the host of each request, so this has no effect on %s of the route: leave it out, or choose "+
				"other targets", to.To, strings.Join(at, ", ")))
	}
	return problems
}

// toHost encodes what a policy does to requests whose endpoint is their host. What is hashed of them chooses nothing.
func toHost(kind policies.Kind, p policies.Object, to backend) string {
	use := &clusterUse{Name: unusableCluster, Backends: []backend{to}, Shapes: make([]*clusterShape, len(policies.Kinds))}
	use.Shapes[kindIndex(kind.Kind)] = &clusterShape{Policy: p}
	action := &routev3.RouteAction{}
	route := &routev3.Route{Action: &routev3.Route_Route{Route: action}}
	kind.Route(p, feature.Have{}, route)
	action.HashPolicy = nil
	return string(encode(envoyCluster(use))) + string(encode(route))
}
