package translator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/policies"
	"gatehouse/policies/certificate"
	"gatehouse/translator/flow"
)

// A policy for listeners may say something about requests, and cover listeners for TLS, TCP or UDP, which do not read
// requests. This has no effect there. It is no problem, because the same policy may be meant for other listeners of the
// Gateway, and a condition says it.

const (
	// conditionFields is False on a policy of which some fields have no effect on some listeners.
	conditionFields = "FieldsEffective"
	// reasonRequestless is the reason if these listeners do not read requests.
	reasonRequestless = "ListenersWithoutRequests"
)

// aboutRequests lists the fields of a policy that say something about requests.
func (p *policyRow) aboutRequests() []string {
	var fields []string
	for i, part := range p.ListenerParts {
		if part.Requests != defaultParts[i].Requests {
			fields = append(fields, part.Feature)
		}
	}
	slices.Sort(fields)
	return fields
}

// requestlessTargets is where the policy is attached that says something about requests which the listener does not
// read.
func requestlessTargets(_ string, s *listenerSettingsRow) []string {
	if s.Listener == "" {
		return nil
	}
	return []string{placeKey(s.Requestless)}
}

// requestless is the condition of an attachment that covers listeners that do not read requests, nil for none.
func (t *Tables) requestless(r *flow.Read, a *attachmentRow) *metav1.Condition {
	if a.Policy.Kind.Kind != policies.Kinds[listenerKind].Kind {
		return nil
	}
	var listeners []string
	for _, s := range t.requestlessByTarget.Lookup(r, placeKey(a.Target)) {
		listeners = append(listeners, s.Value.Listener)
	}
	if len(listeners) == 0 {
		return nil
	}
	slices.Sort(listeners)
	return &metav1.Condition{
		Type: conditionFields, Status: metav1.ConditionFalse, Reason: reasonRequestless,
		Message: fmt.Sprintf("what the policy says about requests (%s) has no effect on listeners %s, which do not read requests: "+
			"set it for listeners of protocol HTTP or HTTPS only",
			strings.Join(a.Policy.aboutRequests(), ", "), certificate.Listed(slices.Compact(listeners))),
	}
}
