package translator

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// listenersVerdict is the verdict on the listeners of a Gateway or of a ListenerSet.
type listenersVerdict struct {
	statuses []gwapiv1.ListenerStatus
	problems []verdict.Problem
	// refused are the names of listeners that cannot be served as they are written, unresolved the names of those with
	// a reference that cannot be resolved.
	refused, unresolved []string
	// able reports whether a new Envoy can serve one of them.
	able bool
	// missing is what any of them waits for.
	missing map[Name]string
}

func (t *Tables) judgeListeners(r *flow.Read, keys []string) *listenersVerdict {
	v := &listenersVerdict{missing: map[Name]string{}}
	for _, key := range keys {
		l, ok := t.listeners.Get(r, key)
		if !ok {
			continue // Unreachable: every listener of a Gateway or of an allowed ListenerSet has its row.
		}
		l = t.withFilters(r, l)
		lacking := t.lacking(r, l)
		own := t.listenerStatus(r, l, lacking)
		if !status.True(own.Conditions, string(gwapiv1.ListenerConditionAccepted)) || !l.Serves {
			v.refused = append(v.refused, string(l.Spec.Name))
		}
		if !status.True(own.Conditions, string(gwapiv1.ListenerConditionResolvedRefs)) {
			v.unresolved = append(v.unresolved, string(l.Spec.Name))
		}
		v.able = v.able || l.able()
		maps.Copy(v.missing, lacking)
		v.problems = append(v.problems, l.Problems...)
		v.statuses = append(v.statuses, own)
	}
	return v
}

// tell adds to the condition Accepted of the owner which listeners are not valid. If none is valid, the owner is not
// accepted, unless it has other listeners.
func (v *listenersVerdict) tell(accepted *metav1.Condition, others bool) {
	if len(v.refused) == 0 {
		return
	}
	accepted.Reason = string(gwapiv1.GatewayReasonListenersNotValid)
	accepted.Message = fmt.Sprintf("listeners that are not valid: %v: see their conditions", v.refused)
	if len(v.refused) == len(v.statuses) && !others {
		accepted.Status = metav1.ConditionFalse
	}
}

func (t *Tables) listenerStatus(r *flow.Read, l *listenerRow, lacking map[Name]string) gwapiv1.ListenerStatus {
	scope := string(l.Spec.Name)
	s := gwapiv1.ListenerStatus{
		Name: l.Spec.Name, SupportedKinds: slices.Clone(l.Kinds),
		AttachedRoutes: int32(t.attachedByListener.Count(r, l.Key)),
	}
	if s.SupportedKinds == nil {
		s.SupportedKinds = []gwapiv1.RouteGroupKind{}
	}
	accepted := status.About(l.Problems, string(gwapiv1.ListenerConditionAccepted), scope)
	conflicts := status.About(l.Problems, string(gwapiv1.ListenerConditionConflicted), scope)
	resolved := status.About(l.Problems, string(gwapiv1.ListenerConditionResolvedRefs), scope)
	programmed := l.programmed(lacking)
	if len(conflicts) > 0 {
		accepted = conflicts // Without its port the rest does not matter.
		programmed = status.Condition(programmed.Type, "", "", conflicts)
	}
	s.Conditions = []metav1.Condition{
		l.distrusted(status.Condition(string(gwapiv1.ListenerConditionAccepted), string(gwapiv1.ListenerReasonAccepted),
			"The listener is accepted.", accepted), resolved),
		status.Condition(string(gwapiv1.ListenerConditionResolvedRefs), string(gwapiv1.ListenerReasonResolvedRefs),
			"All references are resolved.", resolved),
		programmed,
	}
	if len(conflicts) > 0 {
		c := status.Condition(string(gwapiv1.ListenerConditionConflicted), "", "", conflicts)
		c.Status = metav1.ConditionTrue
		s.Conditions = append(s.Conditions, c)
	}
	if overlap := t.overlapping(r, l); overlap != nil {
		s.Conditions = append(s.Conditions, *overlap)
	}
	for _, kind := range certificateConditions {
		s.Conditions = append(s.Conditions, status.FalseOnly(kind, status.About(l.Problems, kind, scope))...)
	}
	return s
}

// certificateConditions are the conditions of listeners that exist only while something is wrong with their certificates.
var certificateConditions = []string{conditionHostname, conditionChain, conditionIssued, conditionCurrent}

// AboutCertificates reports whether a condition of a listener that is False is about its certificates.
func AboutCertificates(c metav1.Condition) bool {
	return slices.Contains(certificateConditions, c.Type) || c.Reason == string(gwapiv1.ListenerReasonInvalidCertificateRef)
}

func (l *listenerRow) programmed(lacking map[Name]string) metav1.Condition {
	c := metav1.Condition{Type: string(gwapiv1.ListenerConditionProgrammed), Status: metav1.ConditionFalse}
	switch {
	case !l.able():
		c.Reason, c.Message = string(gwapiv1.ListenerReasonInvalid), "the listener is not valid, see its other conditions"
	case len(lacking) > 0:
		c.Reason, c.Message = string(gwapiv1.ListenerReasonPending), waitingFor(lacking)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, string(gwapiv1.ListenerReasonProgrammed),
			"The listener is served."
	}
	return c
}

// able reports whether a new Envoy can serve the listener.
func (l *listenerRow) able() bool { return l.Serves && l.hasWholeCertificate() }

// hasWholeCertificate reports whether a certificate of the listener can be used. Without one the listener is not
// programmed, although running proxies still serve it.
func (l *listenerRow) hasWholeCertificate() bool {
	return !l.protocol().tls || l.Certified
}
