package translator

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/backendtls"
)

// Change is what is new in a status; the more urgent, the greater.
type Change int

const (
	// Nothing is to be written.
	Nothing Change = iota
	// Counts alone are new: attachedRoutes moves with every route, and may be written in steps.
	Counts
	// Waiting alone is new: what was programmed waits for an Envoy to acknowledge a change of something else on its port, which mostly takes
	// Envoy milliseconds.
	Waiting
	// Verdicts are new: conditions, addresses, or which entries there are.
	Verdicts
)

// Apply is the status that the object shall have, given the one it has: a pure function, of which a second application changes
// nothing. What other controllers wrote stays, and so do the times of what does not change. It answers with a copy of old to write,
// and with what is new in it.
func (s *Status) Apply(controller gwapiv1.GatewayController, old Object, now metav1.Time) (Object, Change) {
	if s.Desired == nil {
		return old, Nothing
	}
	m := merger{generation: old.GetGeneration(), now: now, controller: controller}
	next := old.DeepCopyObject().(Object)
	if desired, ok := s.Desired.(*gwapiv1.RouteStatus); ok {
		status := routeKindOf(next).status(next)
		status.Parents = m.parents(status.Parents, desired.Parents)
		return next, m.change
	}
	switch o := next.(type) {
	case *gwapiv1.GatewayClass:
		m.class(&o.Status, s.Desired.(*gwapiv1.GatewayClassStatus))
	case *gwapiv1.Gateway:
		m.gateway(&o.Status, s.Desired.(*gwapiv1.GatewayStatus))
	case *gwapiv1.BackendTLSPolicy:
		o.Status.Ancestors = m.ancestors(o.Status.Ancestors, s.Desired.(*gwapiv1.PolicyStatus).Ancestors)
	case *gwapixv1alpha1.XBackendTrafficPolicy:
		o.Status.Ancestors = m.ancestors(o.Status.Ancestors, s.Desired.(*gwapiv1.PolicyStatus).Ancestors)
	case *v1alpha1.Backend:
		o.Status.Conditions = m.conditions(o.Status.Conditions, s.Desired.(*v1alpha1.BackendStatus).Conditions)
	case *gwapiv1.ListenerSet:
		m.listenerSet(o, s.Desired.(*gwapiv1.ListenerSetStatus))
	case policies.Object:
		status := o.GetPolicyStatus()
		status.Ancestors = m.ancestors(status.Ancestors, s.Desired.(*gwapiv1.PolicyStatus).Ancestors)
	}
	return next, m.change
}

// own are the conditions that Gatehouse writes; one that is not desired any more is taken away. Any other is somebody else's.
var own = []string{
	"Accepted", "Programmed", "ResolvedRefs", "Conflicted", "PartiallyInvalid", conditionHostnames, conditionBackends, conditionOverlap, policies.ReasonOverridden, policies.ReasonMerged, "Aggregated", backendtls.ConditionOptions,
	conditionHostname, conditionChain, conditionZones, string(gwapiv1.GatewayConditionAddressesAssigned),
	string(gwapiv1.GatewayConditionInsecureFrontendValidationMode), string(gwapiv1.ListenerConditionOverlappingTLSConfig),
}

// maxConditions is the API's limit for each list of conditions.
const maxConditions = 8

// merger puts what is desired into what is there.
type merger struct {
	generation int64
	now        metav1.Time
	controller gwapiv1.GatewayController
	change     Change
}

func (m *merger) note(c Change) { m.change = max(m.change, c) }

// conditions merges as Gateway API asks (GatewayStatus.conditions): those of others keep their place and are not touched. If they leave no room
// for all that is desired, its first ones are written. One of ours that speaks of a later generation is written over: it is not later than the
// object that was read, since the API server refuses to write the status of an object that has changed, but was restored from a backup.
func (m *merger) conditions(old, desired []metav1.Condition) []metav1.Condition {
	merged := slices.DeleteFunc(slices.Clone(old), func(c metav1.Condition) bool {
		gone := slices.Contains(own, c.Type) && !slices.ContainsFunc(desired, func(d metav1.Condition) bool { return d.Type == c.Type })
		if gone {
			m.note(Verdicts)
		}
		return gone
	})
	for _, want := range desired {
		want.ObservedGeneration, want.LastTransitionTime = m.generation, m.now
		at := slices.IndexFunc(merged, func(c metav1.Condition) bool { return c.Type == want.Type })
		switch {
		case at < 0 && len(merged) < maxConditions:
			merged = append(merged, want)
			m.note(Verdicts)
		case at >= 0:
			if merged[at].Status == want.Status {
				want.LastTransitionTime = merged[at].LastTransitionTime
			}
			if merged[at] != want {
				m.note(m.changed(merged[at], want))
				merged[at] = want
			}
		}
	}
	return merged
}

func (m *merger) changed(from, to metav1.Condition) Change {
	if to.Type == string(gwapiv1.GatewayConditionProgrammed) && from.ObservedGeneration == m.generation &&
		from.Status == metav1.ConditionTrue && to.Reason == string(gwapiv1.GatewayReasonPending) {
		return Waiting
	}
	return Verdicts
}

func (m *merger) class(old, desired *gwapiv1.GatewayClassStatus) {
	old.Conditions = m.conditions(old.Conditions, desired.Conditions)
	if !slices.Equal(old.SupportedFeatures, desired.SupportedFeatures) {
		old.SupportedFeatures = desired.SupportedFeatures
		m.note(Verdicts)
	}
}

func (m *merger) gateway(old, desired *gwapiv1.GatewayStatus) {
	old.Conditions = m.conditions(old.Conditions, desired.Conditions)
	if !equalAddresses(old.Addresses, desired.Addresses) {
		old.Addresses = desired.Addresses
		m.note(Verdicts)
	}
	if deref(old.AttachedListenerSets) != deref(desired.AttachedListenerSets) {
		old.AttachedListenerSets = desired.AttachedListenerSets
		m.note(Counts)
	}
	old.Listeners = m.listeners(old.Listeners, desired.Listeners)
}

func (m *merger) listenerSet(old *gwapiv1.ListenerSet, desired *gwapiv1.ListenerSetStatus) {
	status := &old.Status
	status.Conditions = m.conditions(status.Conditions, desired.Conditions)
	had := convert(status.Listeners, listenerOf)
	wanted := append(convert(desired.Listeners, listenerOf), m.left(old.Spec.Listeners, had, desired.Listeners)...)
	status.Listeners = convert(m.listeners(had, wanted), entryOf)
}

// left are entries for listeners of which nothing is said because their ListenerSet may not add listeners to its Gateway, but which have
// conditions of others, which stay. What has gone from the spec has no entry.
func (m *merger) left(spec []gwapiv1.ListenerEntry, had []gwapiv1.ListenerStatus, desired []gwapiv1.ListenerEntryStatus) []gwapiv1.ListenerStatus {
	var left []gwapiv1.ListenerStatus
	for _, l := range had {
		inSpec := slices.ContainsFunc(spec, func(e gwapiv1.ListenerEntry) bool { return e.Name == l.Name })
		told := slices.ContainsFunc(desired, func(d gwapiv1.ListenerEntryStatus) bool { return d.Name == l.Name })
		foreign := slices.ContainsFunc(l.Conditions, func(c metav1.Condition) bool { return !slices.Contains(own, c.Type) })
		if inSpec && !told && foreign {
			left = append(left, gwapiv1.ListenerStatus{Name: l.Name, SupportedKinds: []gwapiv1.RouteGroupKind{}})
		}
	}
	return left
}

// The statuses of listeners of Gateways and of ListenerSets have the same fields.
func listenerOf(s gwapiv1.ListenerEntryStatus) gwapiv1.ListenerStatus {
	return gwapiv1.ListenerStatus(s)
}

func entryOf(s gwapiv1.ListenerStatus) gwapiv1.ListenerEntryStatus {
	return gwapiv1.ListenerEntryStatus(s)
}

func convert[A, B any](list []A, to func(A) B) []B {
	converted := make([]B, len(list))
	for i, v := range list {
		converted[i] = to(v)
	}
	return converted
}

func (m *merger) listeners(old, desired []gwapiv1.ListenerStatus) []gwapiv1.ListenerStatus {
	listeners := make([]gwapiv1.ListenerStatus, 0, len(desired))
	for _, want := range desired {
		at := slices.IndexFunc(old, func(l gwapiv1.ListenerStatus) bool { return l.Name == want.Name })
		var had gwapiv1.ListenerStatus
		if at >= 0 {
			had = old[at]
		}
		want.Conditions = m.conditions(had.Conditions, want.Conditions)
		if had.AttachedRoutes != want.AttachedRoutes {
			m.note(Counts)
		}
		if at != len(listeners) || !slices.EqualFunc(had.SupportedKinds, want.SupportedKinds, equalKinds) {
			m.note(Verdicts)
		}
		listeners = append(listeners, want)
	}
	if len(listeners) != len(old) {
		m.note(Verdicts)
	}
	return listeners
}

func equalKinds(a, b gwapiv1.RouteGroupKind) bool {
	return a.Kind == b.Kind && deref(a.Group) == deref(b.Group)
}

// maxParents is the API's limit for RouteStatus.parents.
const maxParents = 32

func (m *merger) parents(old, desired []gwapiv1.RouteParentStatus) []gwapiv1.RouteParentStatus {
	merged := []gwapiv1.RouteParentStatus{} // The API wants a list, even if it is empty.
	for _, p := range old {
		if p.ControllerName != m.controller {
			merged = append(merged, p)
			continue
		}
		at := slices.IndexFunc(desired, func(d gwapiv1.RouteParentStatus) bool { return equalParents(d.ParentRef, p.ParentRef) })
		if at < 0 {
			m.note(Verdicts) // The parentRef is gone, or its Gateway is not ours any more.
			continue
		}
		p.Conditions = m.conditions(p.Conditions, desired[at].Conditions)
		merged = append(merged, p)
	}
	for _, d := range desired {
		known := slices.ContainsFunc(merged, func(p gwapiv1.RouteParentStatus) bool {
			return p.ControllerName == m.controller && equalParents(p.ParentRef, d.ParentRef)
		})
		if !known && len(merged) < maxParents {
			d.Conditions = m.conditions(nil, d.Conditions)
			merged = append(merged, d)
			m.note(Verdicts)
		}
	}
	return merged
}

func (m *merger) ancestors(old, desired []gwapiv1.PolicyAncestorStatus) []gwapiv1.PolicyAncestorStatus {
	merged := []gwapiv1.PolicyAncestorStatus{} // The API wants a list, even if it is empty.
	for _, a := range old {
		if a.ControllerName != m.controller {
			merged = append(merged, a)
			continue
		}
		at := slices.IndexFunc(desired, func(d gwapiv1.PolicyAncestorStatus) bool { return equalParents(d.AncestorRef, a.AncestorRef) })
		if at < 0 {
			m.note(Verdicts) // The policy does not attach there any more.
			continue
		}
		a.Conditions = m.conditions(a.Conditions, desired[at].Conditions)
		merged = append(merged, a)
	}
	for _, d := range desired {
		known := slices.ContainsFunc(merged, func(a gwapiv1.PolicyAncestorStatus) bool {
			return a.ControllerName == m.controller && equalParents(a.AncestorRef, d.AncestorRef)
		})
		if !known && len(merged) < maxAncestors {
			d.Conditions = m.conditions(nil, d.Conditions)
			merged = append(merged, d)
			m.note(Verdicts)
		}
	}
	return merged
}

func equalParents(a, b gwapiv1.ParentReference) bool {
	return deref(a.Group) == deref(b.Group) && deref(a.Kind) == deref(b.Kind) && deref(a.Namespace) == deref(b.Namespace) &&
		a.Name == b.Name && deref(a.SectionName) == deref(b.SectionName) && deref(a.Port) == deref(b.Port)
}
