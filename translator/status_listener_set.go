package translator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// reasonParentNotProgrammed is a reason of Gateway API, which has no constant for it.
const reasonParentNotProgrammed = "ParentNotProgrammed"

func (t *Tables) listenerSetStatus(r *flow.Read, key string, object *gwapiv1.ListenerSet) (*Status, bool) {
	s, ours := t.listenerSets.Get(r, key)
	if !ours {
		return t.orphan(r, object)
	}
	problems := slices.Clone(s.Problems)
	refusals := s.Problems
	if !s.Gateway.accepted() {
		p := verdict.Problem{
			Field: "spec.parentRef", Reason: string(gwapiv1.ListenerSetReasonParentNotAccepted), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("Gateway %s is not accepted: see its condition Accepted", keyOf(s.Gateway.Gateway)),
		}
		problems, refusals = append(problems, p), append(slices.Clone(refusals), p)
	}
	accepted := status.Condition(string(gwapiv1.ListenerSetConditionAccepted), string(gwapiv1.ListenerSetReasonAccepted),
		"The ListenerSet is accepted.", refusals)
	desired := &gwapiv1.ListenerSetStatus{}
	own := &listenersVerdict{}
	if s.allowed() {
		own = t.judgeListeners(r, s.listenerKeys())
		problems = append(problems, own.problems...)
		for _, l := range own.statuses {
			desired.Listeners = append(desired.Listeners, gwapiv1.ListenerEntryStatus(l))
		}
		if s.Gateway.accepted() {
			own.tell(&accepted, false)
		}
	}
	fleet, _ := t.in.fleets.Get(r, keyOf(s.Gateway.Gateway))
	desired.Conditions = []metav1.Condition{accepted, s.programmed(&accepted, fleet, own)}
	return newStatus(s.Set, problems, desired), true
}

// orphan judges a ListenerSet whose Gateway does not exist, because it may become ours. Nothing is written to it.
func (t *Tables) orphan(r *flow.Read, s *gwapiv1.ListenerSet) (*Status, bool) {
	key, ok := parentKeyOf(s)
	if !ok {
		return nil, false
	}
	if _, there := t.in.gateways.Get(r, key); there {
		return nil, false // It is another controller's.
	}
	namespace, name := splitNamespace(key)
	gateway := verdict.Ref{Group: gwapiv1.GroupName, Kind: "Gateway", Namespace: namespace, Name: name}
	missing := verdict.Absent("spec.parentRef.name", gateway, string(gwapiv1.ListenerSetReasonPending))
	return newStatus(s, append(t.rules.Check(s), missing), nil), true
}

func (s *listenerSetRow) listenerKeys() []string {
	keys := make([]string, len(s.Set.Spec.Listeners))
	for i := range s.Set.Spec.Listeners {
		keys[i] = s.listenerKey(s.Set.Spec.Listeners[i].Name)
	}
	return keys
}

// programmed reports whether traffic of the ListenerSet is served as it is written now.
func (s *listenerSetRow) programmed(accepted *metav1.Condition, fleet FleetStatus,
	own *listenersVerdict,
) metav1.Condition {
	c := metav1.Condition{Type: string(gwapiv1.ListenerSetConditionProgrammed), Status: metav1.ConditionFalse}
	switch parent := s.Gateway.ready(s.Gateway.assign(fleet)); {
	case accepted.Status != metav1.ConditionTrue:
		c.Reason, c.Message = accepted.Reason, "the ListenerSet is not accepted, see its condition Accepted"
	case !own.able:
		c.Reason, c.Message = string(gwapiv1.ListenerSetReasonListenersNotValid),
			"no listener can be served, see their conditions"
	case parent.Status != metav1.ConditionTrue:
		c.Reason, c.Message = reasonParentNotProgrammed, fmt.Sprintf("Gateway %s: %s", keyOf(s.Gateway.Gateway),
			parent.Message)
	case len(own.missing) > 0:
		c.Reason, c.Message = string(gwapiv1.ListenerSetReasonPending), waitingFor(own.missing)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, string(gwapiv1.GatewayReasonProgrammed),
			"The ListenerSet is served."
	}
	return c
}

// acceptedBy counts an accepted ListenerSet for its Gateway.
func acceptedBy(_ string, s *Status) []string {
	desired, ok := s.Desired.(*gwapiv1.ListenerSetStatus)
	if !ok || !status.True(desired.Conditions, string(gwapiv1.ListenerSetConditionAccepted)) {
		return nil
	}
	key, _ := parentKeyOf(s.Object.(*gwapiv1.ListenerSet))
	return []string{key}
}

func countSets(_ *flow.Read, _ string, members []flow.Row[*Status]) (int32, bool) {
	return int32(len(members)), true
}

func splitNamespace(key string) (namespace, name string) {
	namespace, name, _ = strings.Cut(key, "/")
	return namespace, name
}
