package translator

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// What policies on backends have in common: BackendTLSPolicy and XBackendTrafficPolicy.

// noEffect is what becomes of a policy on something that is no backend.
const noEffect = "so it has no effect there"

// backendReference is targetRef i of a policy as a reference. What can be a backend can be targeted, in the policy's own namespace; for anything else
// effect tells what becomes of it.
func backendReference(policy string, i int, target policies.Target, group, effect string) policies.Reference {
	to := policies.Reference{Target: target, Field: fmt.Sprintf("spec.targetRefs[%d]", i)}
	if kind := backendKindNamed(target.Kind); kind == nil || kind.group != group {
		to.Problems = []verdict.Problem{{
			Field: to.Field + ".kind", Reason: string(gwapiv1.PolicyReasonTargetNotFound), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%q of group %q is not served as a target of a %s, %s: write Service with an empty group, ServiceImport of group %s, or Backend of group %s",
				target.Kind, group, policy, effect, mcsv1alpha1.GroupName, v1alpha1.GroupName),
		}}
	}
	return to
}

// attachedKeys are the keys of the targets that a policy with count targetRefs can be attached to.
func attachedKeys(policy string, count int, ref func(int) policies.Reference) []string {
	var keys []string
	for i := range count {
		if ref := ref(i); len(ref.Problems) == 0 {
			keys = append(keys, targetKey(policy, ref.Target))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// findTarget finds the object that a valid reference names. If the object does not exist, it returns a problem.
func (t *Tables) findTarget(r *flow.Read, ref policies.Reference) (*backendObject, *verdict.Problem) {
	kind := backendKindNamed(ref.Kind)
	object, ok := t.backends.Get(r, kind.key(ref.Namespace, ref.Name))
	if !ok {
		problem := policies.TargetNotFound(ref)
		problem.Missing.Group = kind.group
		return nil, &problem
	}
	return object, nil
}

// judgedTarget is a target of a policy, with what is wrong with the policy there.
type judgedTarget struct {
	policies.Target
	problems []verdict.Problem
}

// backendPolicyStatus speaks about each Gateway that reaches a target of the policy, with the conditions that are made of the problems there. own are
// the problems of the policy wherever it is attached.
func (t *Tables) backendPolicyStatus(
	r *flow.Read, policy Object, own []verdict.Problem, targets []judgedTarget, conditions func([]verdict.Problem) []metav1.Condition,
) *Status {
	problems := slices.Clone(own)
	var gateways []*gatewayRow
	byGateway := map[*gwapiv1.Gateway][]verdict.Problem{}
	for _, target := range targets {
		problems = append(problems, target.problems...)
		for _, g := range t.securingGateways(r, target.Target) {
			if _, known := byGateway[g.Gateway]; !known {
				gateways = append(gateways, g)
			}
			byGateway[g.Gateway] = append(byGateway[g.Gateway], target.problems...)
		}
	}
	slices.SortFunc(gateways, func(a, b *gatewayRow) int { return policies.Older(a.Gateway, b.Gateway) })
	desired := &gwapiv1.PolicyStatus{}
	for _, g := range gateways {
		desired.Ancestors = append(desired.Ancestors, gwapiv1.PolicyAncestorStatus{
			AncestorRef: gatewayAncestor(g.Gateway), ControllerName: gwapiv1.GatewayController(t.settings.ControllerName),
			Conditions: conditions(byGateway[g.Gateway]),
		})
	}
	desired.Ancestors = limitAncestors(desired.Ancestors)
	return newStatus(policy, problems, desired)
}

// securingGateways are the Gateways whose routes use the target, or filters of their listeners, or policies.
func (t *Tables) securingGateways(r *flow.Read, target policies.Target) []*gatewayRow {
	var gateways []*gatewayRow
	add := func(g *gatewayRow) {
		if !slices.ContainsFunc(gateways, func(known *gatewayRow) bool { return known.Gateway == g.Gateway }) {
			gateways = append(gateways, g)
		}
	}
	key := targetKey(backendtls.Kind, target)
	for _, rules := range t.rulesByService.Lookup(r, key) {
		for _, p := range t.parentsByRoute.Lookup(r, rules.Key) {
			add(p.Value.Gateway)
		}
	}
	for _, guard := range t.guardsByService.Lookup(r, key) {
		add(guard.Value.Listener.Gateway)
	}
	for _, p := range t.policiesByService.Lookup(r, key) {
		for _, a := range t.attachmentsByPolicy.Lookup(r, p.Value.ref().String()) {
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
