package translator

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// What policies on backends have in common: BackendTLSPolicy and XBackendTrafficPolicy.

// targetedBackends is what policies must know of backends of a kind.
func (t *Tables) targetedBackends(kind *backendKind) targetKind {
	return targetKind{
		sections: func(r *flow.Read, key string) ([]string, bool) {
			object, ok := t.backends.Get(r, kind.prefix+"/"+key)
			if !ok {
				return nil, false
			}
			return convert(object.Ports, func(p backendPort) string { return p.Name }), true
		},
	}
}

// reportOnBackends reports on each Gateway that reaches a target of a policy on backends, with the conditions that are
// made of the problems there.
func reportOnBackends[P judgedPolicy[P]](t *Tables, a *attachTables[P],
	conditions func([]verdict.Problem) []metav1.Condition,
) reporter[P] {
	return reporter[P]{
		problems: a.problems,
		ancestors: func(r *flow.Read, at *attachment[P]) []gwapiv1.ParentReference {
			target := at.Target
			if at.Unmet != nil {
				target = target.Whole() // Whoever uses the object learns of it.
			}
			gateways := t.securingGateways(r, target)
			slices.SortFunc(gateways, func(a, b *gatewayRow) int { return policies.Older(a.Gateway, b.Gateway) })
			return convert(gateways, func(g *gatewayRow) gwapiv1.ParentReference { return gatewayAncestor(g.Gateway) })
		},
		conditions: func(_ gwapiv1.ParentReference, _ *attachment[P], found []verdict.Problem) []metav1.Condition {
			return conditions(found)
		},
	}
}

// securingGateways are the Gateways that use the target in their routes, in filters of their listeners or in policies.
func (t *Tables) securingGateways(r *flow.Read, target policies.Target) []*gatewayRow {
	var gateways []*gatewayRow
	add := func(g *gatewayRow) {
		if !slices.ContainsFunc(gateways, func(known *gatewayRow) bool { return known.Gateway == g.Gateway }) {
			gateways = append(gateways, g)
		}
	}
	key := placeKey(target)
	for _, rules := range t.rulesByBackend.Lookup(r, key) {
		for _, p := range t.parentsByRoute.Lookup(r, rules.Key) {
			add(p.Value.Gateway)
		}
	}
	for _, guard := range t.guardsByBackend.Lookup(r, key) {
		add(guard.Value.Listener.Gateway)
	}
	for _, p := range t.policiesByBackend.Lookup(r, key) {
		for _, a := range t.attached.byPolicy.Lookup(r, p.Value.ref().String()) {
			target := a.Value.Target
			for _, g := range t.targetKinds[target.Kind].gateways(r, Key(target.Namespace, target.Name)) {
				add(g)
			}
		}
	}
	return gateways
}

func gatewayAncestor(g *gwapiv1.Gateway) gwapiv1.ParentReference {
	group, kind, namespace := gwapiv1.Group(gwapiv1.GroupName), gwapiv1.Kind("Gateway"), gwapiv1.Namespace(g.Namespace)
	return gwapiv1.ParentReference{Group: &group, Kind: &kind, Namespace: &namespace, Name: gwapiv1.ObjectName(g.Name)}
}
