package translator

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/policies"
	"gatehouse/policies/certificate"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// A policy for listeners may say something about requests, and cover listeners for TLS, TCP or UDP, which do not read
// requests. This has no effect there. It is no problem, because the same policy may be meant for other listeners of the
// Gateway, and a condition says it.

// reasonRequestless is the reason of condition FieldsEffective for listeners that do not read requests.
const reasonRequestless = "ListenersWithoutRequests"

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

// requestless are the problems of an attachment that covers listeners that do not read requests.
func (t *Tables) requestless(r *flow.Read, a *attachmentRow) []verdict.Problem {
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
	return []verdict.Problem{{
		Condition: policies.ConditionFields, Reason: reasonRequestless, Weight: verdict.Unresolved,
		Message: fmt.Sprintf("what the policy says about requests (%s) has no effect on listeners %s, which do not read requests: "+
			"set it for listeners of protocol HTTP or HTTPS only",
			strings.Join(a.Policy.aboutRequests(), ", "), certificate.Listed(slices.Compact(listeners))),
	}}
}
