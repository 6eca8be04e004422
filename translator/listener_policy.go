package translator

import (
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// What policies say about listeners is in rows beside the listeners, which only Envoy's listeners are made of. So a
// policy on a Gateway does not cause any route to be translated again (decision 056).

// listenerKind is the index of the one kind of policies that says something about listeners.
var listenerKind = slices.IndexFunc(policies.Kinds, policies.Kind.ShapesListeners)

// defaultParts are the settings of a listener without a policy.
var defaultParts = policies.Kinds[listenerKind].ListenerParts(nil, feature.Have{})

// listenerPolicyRow is the policy that takes effect on a listener.
type listenerPolicyRow struct {
	Policy *policyRow
	// Target is where it is attached.
	Target policies.Target
}

func (p *listenerPolicyRow) equal(o *listenerPolicyRow) bool {
	return p.Policy.equal(o.Policy) && p.Target == o.Target
}

func (t *Tables) listenerWinner(_ *flow.Read, _ string, a *targetRow) (string, bool) {
	winner := a.winner(listenerKind)
	if winner == nil {
		return "", false
	}
	return winner.key(), true
}

func (t *Tables) listenerPolicy(r *flow.Read, _ string, l *listenerRow) (*listenerPolicyRow, bool) {
	if !l.Serves {
		return nil, false
	}
	for _, target := range l.chain() {
		if key, ok := t.listenerWinners.Get(r, placeKey(target)); ok {
			p, ok := t.policies.Get(r, key)
			return &listenerPolicyRow{Policy: p, Target: target}, ok
		}
	}
	return nil, false
}

// listenerSettingsRow is what policies mean for a listener.
type listenerSettingsRow struct {
	// Policy shapes the filter chain of the listener. It is nil for the defaults.
	Policy *policyRow
	// Closed reports whether routes of the listener fail because the policy that covers it has no effect.
	Closed bool
	// Conflict is why the policy that covers it has no effect. It is empty if that has another reason, or it has an
	// effect.
	Conflict listenerConflict
	// QUIC reports whether clients get HTTP/3 too.
	QUIC bool
	// Unused are the fields of the policy that have no effect on the listener. Target is where the policy is attached,
	// and Listener the name of the listener; both are zero if there are no such fields.
	Unused   []unusedFields
	Target   policies.Target
	Listener string
}

func (s *listenerSettingsRow) equal(o *listenerSettingsRow) bool {
	return s.Policy.equal(o.Policy) && s.Closed == o.Closed && s.Conflict == o.Conflict && s.QUIC == o.QUIC &&
		slices.Equal(s.Unused, o.Unused) && s.Target == o.Target && s.Listener == o.Listener
}

// listenerSettings finds what policies mean for a listener. A listener without any has no row.
func (t *Tables) listenerSettings(r *flow.Read, key string, l *listenerRow) (*listenerSettingsRow, bool) {
	if !l.Serves {
		return nil, false
	}
	own, covered := t.listenerPolicies.Get(r, key)
	port, _ := t.portsSettings.Get(r, l.portKey())
	row := &listenerSettingsRow{}
	if covered {
		row.Conflict = l.conflictOnPort(own, port)
		if row.Conflict.Message == "" {
			row.Conflict = t.rejectedClients(r, l, own)
		}
		row.Closed = own.Policy.Broken || row.Conflict.Message != ""
		if !row.Closed {
			t.useFields(r, l, own, row)
		}
	}
	switch {
	case !l.protocol().sni:
		row.Policy = port.policy()
	case covered && !row.Closed:
		row.Policy = own.Policy
	case covered && l.Clients == nil:
		row.Policy = own.Policy.refusing()
	}
	return row, row.Closed || row.Policy != nil || len(row.Unused) > 0
}

// listenerTraits are what routes depend on of the settings of their listener. Bindings read these alone.
type listenerTraits struct {
	// Closed reports whether all routes fail.
	Closed bool
	// EndsIdle reports whether the listener has an idle time of its own for requests.
	EndsIdle bool
}

// traitsOf has a row for each listener that has a trait.
func traitsOf(_ *flow.Read, _ string, s *listenerSettingsRow) (listenerTraits, bool) {
	traits := listenerTraits{Closed: s.Closed}
	if s.Policy != nil {
		built := feature.NewListener()
		s.Policy.shapeListener(built)
		traits.EndsIdle = built.Manager.StreamIdleTimeout != nil
	}
	return traits, traits != listenerTraits{}
}

// conflictTargets is where the policy is attached that is in conflict.
func conflictTargets(_ string, s *listenerSettingsRow) []string {
	if s.Conflict.Message == "" {
		return nil
	}
	return []string{placeKey(s.Conflict.Target)}
}

// conflictsOfListeners are the problems that a policy has with the ports of listeners that it covers.
func (t *Tables) conflictsOfListeners(r *flow.Read, a *attachmentRow) (problems []verdict.Problem) {
	if a.Policy.Kind.Kind != policies.Kinds[listenerKind].Kind {
		return nil
	}
	for _, s := range t.conflictsByTarget.Lookup(r, placeKey(a.Target)) {
		problems = append(problems, verdict.Problem{
			Field: a.Field, Reason: string(gwapiv1.PolicyReasonConflicted), Weight: verdict.Conflicted,
			Message: s.Value.Conflict.Message,
		})
	}
	return problems
}

// policyOfChain returns the policy that shapes the filter chains of a listener, nil for the defaults.
func (t *Tables) policyOfChain(r *flow.Read, l *listenerRow) *policyRow {
	settings, ok := t.listenersSettings.Get(r, l.Key)
	if !ok {
		return nil
	}
	return settings.Policy
}

// shapeListener sets on a listener what a policy says, or the defaults if there is none.
func (p *policyRow) shapeListener(built *feature.Listener) {
	if p == nil || p.Refuses {
		policies.Kinds[listenerKind].Listener(nil, feature.Have{}, built)
	} else {
		p.Kind.Listener(p.Policy, p.Have, built)
	}
	p.askClients(built)
}
