package translator

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// envoyProxyStatus is the status of an EnvoyProxy.
type envoyProxyStatus struct {
	// Ancestors has one entry for each GatewayClass and Gateway of ours that refers to the EnvoyProxy.
	Ancestors []gwapiv1.PolicyAncestorStatus `json:"ancestors,omitempty"`
	// Elsewhere are those of another controller. The entries of an EnvoyProxy do not name their writer, so this says
	// which entries are not ours.
	Elsewhere []gwapiv1.ParentReference `json:"elsewhere,omitempty"`
}

func (t *Tables) envoyProxyStatus(r *flow.Read, key string, f *envoyProxyRow) (*Status, bool) {
	accepted := status.Condition(string(gwapiv1.PolicyConditionAccepted), string(gwapiv1.PolicyReasonAccepted),
		"The EnvoyProxy is accepted.", f.Problems)
	if len(f.Problems) > 0 {
		accepted.Reason = reasonInvalidParameters
	}
	desired := &envoyProxyStatus{}
	users := t.usersOf(r, key)
	for _, ref := range users.ours {
		desired.Ancestors = append(desired.Ancestors, gwapiv1.PolicyAncestorStatus{
			AncestorRef: ref, ControllerName: gwapiv1.GatewayController(t.settings.ControllerName),
			Conditions: []metav1.Condition{accepted},
		})
	}
	desired.Ancestors, desired.Elsewhere = limitAncestors(desired.Ancestors), users.elsewhere
	if len(users.elsewhere) > 0 && len(users.ours)+len(users.open) == 0 {
		return newStatus(f.EnvoyProxy, nil, desired), true // It is for another controller to judge.
	}
	return newStatus(f.EnvoyProxy, f.Problems, desired), true
}

func classAncestor(c *gwapiv1.GatewayClass) gwapiv1.ParentReference {
	group, kind := gwapiv1.Group(gwapiv1.GroupName), gwapiv1.Kind("GatewayClass")
	return gwapiv1.ParentReference{Group: &group, Kind: &kind, Name: gwapiv1.ObjectName(c.Name)}
}

// mergeFleetSpec merges the ancestors of an EnvoyProxy like those of a policy.
func mergeFleetSpec(m *status.Merger, old *v1alpha1.EnvoyProxyStatus, desired *envoyProxyStatus) {
	var had []gwapiv1.PolicyAncestorStatus
	for _, a := range old.Ancestors {
		entry := gwapiv1.PolicyAncestorStatus{
			AncestorRef: a.AncestorRef, ControllerName: m.Controller,
			Conditions: a.Conditions,
		}
		if slices.ContainsFunc(desired.Elsewhere, func(ref gwapiv1.ParentReference) bool {
			return status.EqualParents(ref,
				a.AncestorRef)
		}) {
			entry.ControllerName = "" // Another controller has written it.
		}
		had = append(had, entry)
	}
	old.Ancestors = nil
	for _, a := range m.Ancestors(had, desired.Ancestors) {
		old.Ancestors = append(old.Ancestors, v1alpha1.EnvoyProxyAncestorStatus{
			AncestorRef: a.AncestorRef,
			Conditions:  a.Conditions,
		})
	}
}
