package status

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Change is what is new in a status; the more urgent, the greater.
type Change int

const (
	// Nothing is to be written.
	Nothing Change = iota
	// Counts alone are new. attachedRoutes changes with every route and may be written less often.
	Counts
	// Waiting alone is new: what was programmed waits for an Envoy to acknowledge a change of something else on its
	// port, which usually takes milliseconds.
	Waiting
	// Verdicts are new: conditions, addresses, or which entries there are.
	Verdicts
)

// Limits of the API for lists in a status.
const (
	MaxConditions = 8
	MaxParents    = 32
	MaxAncestors  = 16
)

// Merger merges what one controller wants to say about an object into the status that the object has. What other
// controllers wrote stays, and so do the times of what does not change. A second merge changes nothing.
type Merger struct {
	Controller gwapiv1.GatewayController
	// Own are the types of the conditions that the controller writes. One of them that is not desired any more is
	// removed. Any other belongs to somebody else.
	Own []string
	// Generation is the object's, and Now the time of what changes.
	Generation int64
	Now        metav1.Time
	// Change is what the merges so far have changed.
	Change Change
}

func (m *Merger) note(c Change) { m.Change = max(m.Change, c) }

// Conditions merges as Gateway API asks (GatewayStatus.conditions): those of others keep their place and are not
// changed. If they leave no room for all desired ones, the first of these are written. A condition of ours with a later
// generation is replaced: the object was restored from a backup, because the API server rejects the status of an object
// that has changed since it was read.
func (m *Merger) Conditions(old, desired []metav1.Condition) []metav1.Condition {
	merged := slices.DeleteFunc(slices.Clone(old), func(c metav1.Condition) bool {
		gone := slices.Contains(m.Own, c.Type) && !slices.ContainsFunc(desired,
			func(d metav1.Condition) bool { return d.Type == c.Type })
		if gone {
			m.note(Verdicts)
		}
		return gone
	})
	for _, want := range desired {
		want.ObservedGeneration, want.LastTransitionTime = m.Generation, m.Now
		at := slices.IndexFunc(merged, func(c metav1.Condition) bool { return c.Type == want.Type })
		switch {
		case at < 0 && len(merged) < MaxConditions:
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

// changed returns what is new in a condition.
func (m *Merger) changed(from, to metav1.Condition) Change {
	if to.Type == string(gwapiv1.GatewayConditionProgrammed) && from.ObservedGeneration == m.Generation &&
		from.Status == metav1.ConditionTrue && to.Reason == string(gwapiv1.GatewayReasonPending) {
		return Waiting
	}
	return Verdicts
}

// Class merges the status of a GatewayClass.
func (m *Merger) Class(old, desired *gwapiv1.GatewayClassStatus) {
	old.Conditions = m.Conditions(old.Conditions, desired.Conditions)
	if !slices.Equal(old.SupportedFeatures, desired.SupportedFeatures) {
		old.SupportedFeatures = desired.SupportedFeatures
		m.note(Verdicts)
	}
}

// Gateway merges the status of a Gateway.
func (m *Merger) Gateway(old, desired *gwapiv1.GatewayStatus) {
	old.Conditions = m.Conditions(old.Conditions, desired.Conditions)
	if !EqualAddresses(old.Addresses, desired.Addresses) {
		old.Addresses = desired.Addresses
		m.note(Verdicts)
	}
	if ptr.Deref(old.AttachedListenerSets, 0) != ptr.Deref(desired.AttachedListenerSets, 0) {
		old.AttachedListenerSets = desired.AttachedListenerSets
		m.note(Counts)
	}
	old.Listeners = m.listeners(old.Listeners, desired.Listeners)
}

// ListenerSet merges the status of a ListenerSet, whose spec says which of its listeners still exist.
func (m *Merger) ListenerSet(old *gwapiv1.ListenerSet, desired *gwapiv1.ListenerSetStatus) {
	status := &old.Status
	status.Conditions = m.Conditions(status.Conditions, desired.Conditions)
	had := convert(status.Listeners, listenerOf)
	wanted := append(convert(desired.Listeners, listenerOf), m.left(old.Spec.Listeners, had, desired.Listeners)...)
	status.Listeners = convert(m.listeners(had, wanted), entryOf)
}

// left returns entries for listeners that have no desired status, because their ListenerSet may not add listeners to
// its Gateway, but that have conditions of others. These conditions stay. A listener that is not in the spec any more
// has no entry.
func (m *Merger) left(spec []gwapiv1.ListenerEntry, had []gwapiv1.ListenerStatus,
	desired []gwapiv1.ListenerEntryStatus,
) []gwapiv1.ListenerStatus {
	var left []gwapiv1.ListenerStatus
	for _, l := range had {
		inSpec := slices.ContainsFunc(spec, func(e gwapiv1.ListenerEntry) bool { return e.Name == l.Name })
		wanted := slices.ContainsFunc(desired, func(d gwapiv1.ListenerEntryStatus) bool { return d.Name == l.Name })
		foreign := slices.ContainsFunc(l.Conditions, func(c metav1.Condition) bool { return !slices.Contains(m.Own, c.Type) })
		if inSpec && !wanted && foreign {
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

func (m *Merger) listeners(old, desired []gwapiv1.ListenerStatus) []gwapiv1.ListenerStatus {
	listeners := make([]gwapiv1.ListenerStatus, 0, len(desired))
	for _, want := range desired {
		at := slices.IndexFunc(old, func(l gwapiv1.ListenerStatus) bool { return l.Name == want.Name })
		var had gwapiv1.ListenerStatus
		if at >= 0 {
			had = old[at]
		}
		want.Conditions = m.Conditions(had.Conditions, want.Conditions)
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
	return a.Kind == b.Kind && ptr.Deref(a.Group, "") == ptr.Deref(b.Group, "")
}

// Parents merges the parents in the status of a route. Entries of other controllers are not changed.
func (m *Merger) Parents(old, desired []gwapiv1.RouteParentStatus) []gwapiv1.RouteParentStatus {
	return entries(m, old, desired, MaxParents, func(s *gwapiv1.RouteParentStatus) entry {
		return entry{s.ParentRef, s.ControllerName, &s.Conditions}
	})
}

// Ancestors merges the ancestors in the status of a policy. Entries of other controllers are not changed.
func (m *Merger) Ancestors(old, desired []gwapiv1.PolicyAncestorStatus) []gwapiv1.PolicyAncestorStatus {
	return entries(m, old, desired, MaxAncestors, func(s *gwapiv1.PolicyAncestorStatus) entry {
		return entry{s.AncestorRef, s.ControllerName, &s.Conditions}
	})
}

// entry is what a controller says about an object in relation to another one.
type entry struct {
	about      gwapiv1.ParentReference
	controller gwapiv1.GatewayController
	conditions *[]metav1.Condition
}

func entries[S any](m *Merger, old, desired []S, limit int, of func(*S) entry) []S {
	merged := []S{} // The API wants a list, even if it is empty.
	for _, s := range old {
		had := of(&s)
		if had.controller == m.Controller {
			at := slices.IndexFunc(desired, func(d S) bool { return EqualParents(of(&d).about, had.about) })
			if at < 0 {
				m.note(Verdicts) // The reference is gone, or it does not lead to a Gateway of ours any more.
				continue
			}
			*had.conditions = m.Conditions(*had.conditions, *of(&desired[at]).conditions)
		}
		merged = append(merged, s)
	}
	for _, d := range desired {
		wanted := of(&d)
		known := slices.ContainsFunc(merged, func(s S) bool {
			had := of(&s)
			return had.controller == m.Controller && EqualParents(had.about, wanted.about)
		})
		if !known && len(merged) < limit {
			*wanted.conditions = m.Conditions(nil, *wanted.conditions)
			merged = append(merged, d)
			m.note(Verdicts)
		}
	}
	return merged
}

// EqualParents reports whether two references mean the same parent. An empty field is the same as one that is absent.
func EqualParents(a, b gwapiv1.ParentReference) bool {
	return ptr.Deref(a.Group, "") == ptr.Deref(b.Group, "") && ptr.Deref(a.Kind, "") == ptr.Deref(b.Kind, "") &&
		ptr.Deref(a.Namespace, "") == ptr.Deref(b.Namespace, "") &&
		a.Name == b.Name && ptr.Deref(a.SectionName, "") == ptr.Deref(b.SectionName, "") &&
		ptr.Deref(a.Port, 0) == ptr.Deref(b.Port, 0)
}

// EqualAddresses reports whether two lists have the same addresses. An empty routability differs from an absent one,
// because a status must have one (GEP-5093).
func EqualAddresses(a, b []gwapiv1.GatewayStatusAddress) bool {
	return slices.EqualFunc(a, b, func(x, y gwapiv1.GatewayStatusAddress) bool {
		return x.Value == y.Value && ptr.Deref(x.Type, "") == ptr.Deref(y.Type, "") &&
			(x.Routability == nil) == (y.Routability == nil) && ptr.Deref(x.Routability, "") == ptr.Deref(y.Routability, "")
	})
}
