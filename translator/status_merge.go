package translator

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/feature"
	"gatehouse/translator/status"
)

// ownConditions are the types of the conditions that Gatehouse writes.
var ownConditions = []string{
	"Accepted", "Programmed", "ResolvedRefs", "Conflicted", "PartiallyInvalid", "Aggregated", conditionHostnames,
	conditionBackends,
	conditionOverlap, policies.ReasonOverridden, policies.ReasonMerged, backendtls.ConditionOptions, conditionHostname,
	conditionChain, conditionIssued, conditionCurrent, conditionContent, conditionZones, feature.ConditionFields, string(gwapiv1.GatewayConditionAddressesAssigned),
	string(gwapiv1.GatewayConditionInsecureFrontendValidationMode), string(gwapiv1.ListenerConditionOverlappingTLSConfig),
}

// Merge returns a copy of the object with the desired status merged into the one it has, and what is new in it
// (status.Merger). It returns the object itself if nothing is desired.
func (s *Status) Merge(controller gwapiv1.GatewayController, old Object, now metav1.Time) (Object, status.Change) {
	if s.Desired == nil {
		return old, status.Nothing
	}
	m := status.Merger{Controller: controller, Own: ownConditions, Generation: old.GetGeneration(), Now: now}
	next := old.DeepCopyObject().(Object)
	if desired, ok := s.Desired.(*gwapiv1.RouteStatus); ok {
		found := routeKindOf(next).status(next)
		found.Parents = m.Parents(found.Parents, desired.Parents)
		return next, m.Change
	}
	switch o := next.(type) {
	case *gwapiv1.GatewayClass:
		m.Class(&o.Status, s.Desired.(*gwapiv1.GatewayClassStatus))
	case *gwapiv1.Gateway:
		m.Gateway(&o.Status, s.Desired.(*gwapiv1.GatewayStatus))
	case *gwapiv1.BackendTLSPolicy:
		o.Status.Ancestors = m.Ancestors(o.Status.Ancestors, s.Desired.(*gwapiv1.PolicyStatus).Ancestors)
	case *gwapixv1alpha1.XBackendTrafficPolicy:
		o.Status.Ancestors = m.Ancestors(o.Status.Ancestors, s.Desired.(*gwapiv1.PolicyStatus).Ancestors)
	case *v1alpha1.EnvoyProxy:
		mergeFleetSpec(&m, &o.Status, s.Desired.(*envoyProxyStatus))
	case *v1alpha1.Backend:
		o.Status.Conditions = m.Conditions(o.Status.Conditions, s.Desired.(*v1alpha1.BackendStatus).Conditions)
	case *gwapiv1.ListenerSet:
		m.ListenerSet(o, s.Desired.(*gwapiv1.ListenerSetStatus))
	case policies.Object:
		found := o.GetPolicyStatus()
		found.Ancestors = m.Ancestors(found.Ancestors, s.Desired.(*gwapiv1.PolicyStatus).Ancestors)
	}
	return next, m.Change
}
