package translator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/policies"
	"gatehouse/policies/certificate"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// A policy for listeners may say something that has no effect on some listeners that it covers. This is not a problem,
// because the same policy may be meant for other listeners of the Gateway, and a condition says it.

// Reasons of condition FieldsEffective for listeners that do not read requests, and for those that do not terminate TLS.
const (
	reasonRequestless = "ListenersWithoutRequests"
	reasonTLSless     = "ListenersWithoutTLS"
)

// unusedFields are fields of a policy that have no effect on a listener, and why.
type unusedFields struct {
	// Reason is that of the condition.
	Reason string
	// Fields begins the message of a problem, and Why ends it. The listeners are named between them.
	Fields, Why string
}

func (u unusedFields) compare(o unusedFields) int {
	return cmp.Or(strings.Compare(u.Reason, o.Reason), strings.Compare(u.Fields, o.Fields), strings.Compare(u.Why, o.Why))
}

// requestless are the fields of a policy about requests, for a listener that does not read them: one for TLS, TCP or
// UDP.
func requestless(p *policyRow) unusedFields {
	return unusedFields{
		Reason: reasonRequestless,
		Fields: fmt.Sprintf("what the policy says about requests (%s)", strings.Join(p.aboutRequests(), ", ")),
		Why:    ", which do not read requests: set it for listeners of protocol HTTP or HTTPS only",
	}
}

// tlsless are the fields of a policy about TLS, for a listener that does not terminate it.
func tlsless(fields []string) unusedFields {
	return unusedFields{
		Reason: reasonTLSless,
		Fields: fmt.Sprintf("what the policy says about terminating TLS (%s)", strings.Join(fields, ", ")),
		Why:    ", which do not terminate TLS: set it for listeners of protocol HTTPS, or of protocol TLS with mode Terminate, only",
	}
}

// aboutRequests lists the fields of a policy that say something about requests.
func (p *policyRow) aboutRequests() []string {
	return p.differing(func(part policies.ListenerPart) string { return part.Requests })
}

// aboutTLS lists the fields of a policy that would say something about a listener if it terminated TLS. Where TLS is
// forwarded, its beginning is read too.
func (p *policyRow) aboutTLS(l *listenerRow) []string {
	return p.differing(func(part policies.ListenerPart) string {
		if l.protocol().sni {
			return part.TLS
		}
		return part.TLS + part.Inspector
	})
}

// differing lists the fields of a policy for which a part of what they set is not the default.
func (p *policyRow) differing(of func(policies.ListenerPart) string) []string {
	var fields []string
	for i, part := range p.ListenerParts {
		if of(part) != of(defaultParts[i]) {
			fields = append(fields, part.Feature)
		}
	}
	slices.Sort(fields)
	return fields
}

// useFields decides about the fields of a listener's policy that not every listener can have.
func (t *Tables) useFields(r *flow.Read, l *listenerRow, own *listenerPolicyRow, s *listenerSettingsRow) {
	if l.protocol().layer4 && len(own.Policy.aboutRequests()) > 0 {
		s.Unused = append(s.Unused, requestless(own.Policy))
	}
	if fields := own.Policy.aboutTLS(l); !l.protocol().tls && len(fields) > 0 {
		s.Unused = append(s.Unused, tlsless(fields))
	}
	if fields := own.Policy.askingQUIC(); len(fields) > 0 {
		if without := t.withoutQUIC(r, l, own.Policy); without != nil {
			without.Fields = strings.Join(fields, ", ")
			s.Unused = append(s.Unused, *without)
		} else {
			s.QUIC = true
		}
	}
	if len(s.Unused) > 0 {
		s.Target, s.Listener = own.Target, string(l.Spec.Name)
	}
}

// unusedTargets is where the policy is attached of which some fields have no effect on the listener.
func unusedTargets(_ string, s *listenerSettingsRow) []string {
	if len(s.Unused) == 0 {
		return nil
	}
	return []string{placeKey(s.Target)}
}

// unused are the problems of an attachment that some fields of the policy have no effect where it covers: on listeners, or
// for another kind on rules whose endpoint is the host of each request.
func (t *Tables) unused(r *flow.Read, a *attachmentRow) (problems []verdict.Problem) {
	if a.Policy.Kind.Kind != policies.Kinds[listenerKind].Kind {
		return t.unusedOnHosts(r, a)
	}
	listeners := map[unusedFields][]string{}
	for _, s := range t.unusedByTarget.Lookup(r, placeKey(a.Target)) {
		for _, u := range s.Value.Unused {
			listeners[u] = append(listeners[u], s.Value.Listener)
		}
	}
	for _, u := range slices.SortedFunc(maps.Keys(listeners), unusedFields.compare) {
		names := listeners[u]
		slices.Sort(names)
		problems = append(problems, verdict.Problem{
			Condition: feature.ConditionFields, Reason: u.Reason, Weight: verdict.Unresolved,
			Message: u.Fields + " has no effect on listeners " + certificate.Listed(slices.Compact(names)) + u.Why,
		})
	}
	return problems
}
