package translator

import (
	"encoding/json"
	"fmt"
	"slices"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// declareStatuses: the statuses of objects, and what the infrastructure must provide.
func (t *Tables) declareStatuses() {
	t.parentsByListener = flow.NewIndex(t.parents, "parents by listener", attachedTo)
	// A route counts once, however many of its parentRefs select the listener.
	attached := flow.Keys(flow.NewIndex(t.parents, "parents by route and listener", routeOnListeners), "attached routes")
	t.attachedByListener = flow.NewIndex(attached, "attached routes by listener", lastPart)
	t.missingOfFleets = flow.Expand(t.gateways, "missing", flow.Same[string], t.missing)
	t.envoyProxyStatuses = flow.Derive(t.envoyProxies, "EnvoyProxy statuses", (*Status).equal, t.envoyProxyStatus)
	t.classStatuses = flow.Derive(t.in.classes, "class statuses", (*Status).equal, t.classStatus)
	t.setStatuses = flow.Derive(t.in.listenerSets, "listener set statuses", (*Status).equal, t.listenerSetStatus)
	t.attachedSets = flow.Group(flow.NewIndex(t.setStatuses, "accepted listener sets by Gateway", acceptedBy),
		"attached listener sets", flow.Same[int32], countSets)
	t.gatewayStatuses = flow.Derive(t.in.gateways, "gateway statuses", (*Status).equal, t.gatewayStatus)
	t.routeStatuses = flow.Derive(t.routes, "route statuses", (*Status).equal, t.routeStatus)
	t.policyStatuses = flow.Derive(t.policies, "policy statuses", (*Status).equal, t.policyStatus)
	t.backendTLSStatuses = flow.Derive(t.backendTLS, "backend TLS policy statuses", (*Status).equal, t.backendTLSStatus)
	t.budgetStatuses = flow.Derive(t.budgets, "retry budget statuses", (*Status).equal, t.budgetStatus)
	t.backendStatuses = flow.Derive(t.listedBackends, "Backend statuses", (*Status).equal, t.backendStatus)
	t.extensionStatuses = flow.Derive(t.extensions, "HTTPRouteFilter verdicts", (*Status).equal, t.extensionStatus)
	t.requirements = flow.Derive(t.gateways, "requirements", (*Requirement).equal, t.requirement)
}

// Status is what the translation concludes about one object: its problems and its desired status.
type Status struct {
	// Object is what was judged: the informer's own.
	Object Object
	// Problems are all problems of the object, for admission and for logs.
	Problems []verdict.Problem
	// Desired is the status without times: *GatewayClassStatus, *GatewayStatus, *ListenerSetStatus, *RouteStatus or
	// *PolicyStatus of Gateway API, or *BackendStatus or *envoyProxyStatus of ours. It is nil if nothing must be
	// written, such as for a route without a parent of ours.
	Desired any
	// encoded is Desired in JSON, to compare.
	encoded string
}

func newStatus(o Object, problems []verdict.Problem, desired any) *Status {
	encoded, err := json.Marshal(desired)
	if err != nil {
		panic(fmt.Sprintf("translator: marshal the status of %s: %v", keyOf(o), err)) // Plain structs always marshal.
	}
	return &Status{Object: o, Problems: problems, Desired: desired, encoded: string(encoded)}
}

func (s *Status) equal(o *Status) bool {
	return s.encoded == o.encoded && s.Object.GetGeneration() == o.Object.GetGeneration() &&
		s.Object.GetUID() == o.Object.GetUID() && equalProblems(s.Problems, o.Problems)
}

func equalProblem(a, b *verdict.Problem) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	if !equalRefs(x.Missing, y.Missing) || !equalRefs(x.About, y.About) {
		return false
	}
	x.Missing, x.About = y.Missing, y.About
	return x == y
}

func equalRefs(a, b *verdict.Ref) bool { return a == b || a != nil && b != nil && *a == *b }

func equalProblems(a, b []verdict.Problem) bool {
	return slices.EqualFunc(a, b, func(x, y verdict.Problem) bool { return equalProblem(&x, &y) })
}
