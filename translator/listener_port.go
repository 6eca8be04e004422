package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/policies"
	"gatehouse/translator/flow"
)

// Envoy has one listener for a port, and one connection manager for all plain HTTP listeners of the port. This file
// decides whose settings they have. A listener that needs other settings is closed, and the rest are served.

// portSettingsRow says whose settings a port has: those of Envoy's listener, and for HTTP without TLS those of the
// connection manager too.
type portSettingsRow struct {
	// Policy is nil for the defaults.
	Policy *policyRow
	// Listener is the listener that the policy covers, or that has none.
	Listener policies.Target
}

func (s *portSettingsRow) equal(o *portSettingsRow) bool {
	return s.Policy.equal(o.Policy) && s.Listener == o.Listener
}

// policy returns the policy of the port, nil for the defaults.
func (s *portSettingsRow) policy() *policyRow {
	if s == nil {
		return nil
	}
	return s.Policy
}

// portSettings decides between the listeners of a port. There is no row if none of them has a policy.
func (t *Tables) portSettings(r *flow.Read, _ string, members []flow.Row[*listenerRow]) (*portSettingsRow, bool) {
	var wishes []portWish
	owner, covered := first(members), false
	for _, m := range members {
		row, ok := t.listenerPolicies.Get(r, m.Key)
		covered = covered || ok
		switch {
		case ok && !row.Policy.Broken:
			wishes = append(wishes, portWish{m.Value, row.Policy, row.Target})
		case !ok && m.Value.compareOwners(owner.entryRow) == 0:
			wishes = append(wishes, portWish{listener: m.Value})
		}
	}
	if !covered || len(wishes) == 0 {
		return nil, false
	}
	granted := slices.MinFunc(wishes, portWish.compare)
	return &portSettingsRow{Policy: granted.policy, Listener: granted.listener.target()}, true
}

// portWish is what a listener wants its port to have: the settings of its policy, or the defaults if it has none.
type portWish struct {
	listener *listenerRow
	policy   *policyRow
	target   policies.Target
}

// compare puts the wish first that the port has. A policy on the whole Gateway comes first, since it covers most. Then
// it depends on who owns the listeners: the Gateway comes before its ListenerSets, and an older ListenerSet before a
// younger one, so that nobody can change what others have. Of the wishes of one owner, the one that covers more comes
// first.
func (w portWish) compare(o portWish) int {
	return cmp.Or(
		compareBool(!w.ofGateway(), !o.ofGateway()),
		w.listener.compareOwners(o.listener.entryRow),
		compareBool(w.policy != nil, o.policy != nil),
		compareBool(w.target.Section != "", o.target.Section != ""),
		w.compareAges(o),
		w.listener.compare(o.listener),
	)
}

// ofGateway reports whether the policy is attached to the whole Gateway.
func (w portWish) ofGateway() bool {
	return w.policy != nil && w.target == targetOf(gatewayRef(w.listener.Gateway.Gateway))
}

func (w portWish) compareAges(o portWish) int {
	if w.policy == nil || o.policy == nil {
		return 0
	}
	return policies.Older(w.policy.Policy, o.policy.Policy)
}

// listenerConflict is a policy that asks for something else than the port of a listener has.
type listenerConflict struct {
	// Target is where the policy is attached.
	Target  policies.Target
	Message string
}

// conflictOnPort compares what the policy of the listener asks of the port with what the port has.
func (l *listenerRow) conflictOnPort(own *listenerPolicyRow, port *portSettingsRow) (none listenerConflict) {
	if own.Policy.Broken || l.protocol().transport == corev1.ProtocolUDP {
		return none
	}
	has := defaultParts
	if p := port.policy(); p != nil {
		has = p.ListenerParts
	}
	var fields []string
	for i, part := range own.Policy.ListenerParts {
		if part.Socket != has[i].Socket || part.Rest != has[i].Rest && !l.protocol().sni {
			fields = append(fields, part.Feature)
		}
	}
	if len(fields) == 0 {
		return none
	}
	return listenerConflict{Target: own.Target, Message: fmt.Sprintf(
		"listener %q shares port %d with %s, and they cannot differ in %s, so what the policy covers there is not served: "+
			"attach one policy to both, or use another port",
		l.Spec.Name, l.Spec.Port, l.holder(own.Policy, port), strings.Join(fields, ", "))}
}

// holder names the listener from which the port has its settings, and its policy. The owner of the losing policy must
// not learn about objects of other namespaces.
func (l *listenerRow) holder(told *policyRow, port *portSettingsRow) string {
	kind, namespace := policies.Kinds[listenerKind].Kind, told.Policy.GetNamespace()
	listener := "a listener of another namespace"
	switch {
	case port.Listener.Whole() == l.target().Whole():
		listener = fmt.Sprintf("listener %q", port.Listener.Section)
	case port.Listener.Namespace == namespace:
		listener = port.Listener.String()
	}
	switch p := port.Policy; {
	case p == nil:
		return fmt.Sprintf("%s, which has no %s", listener, kind)
	case p.Policy.GetNamespace() == namespace:
		return fmt.Sprintf("%s, which has %s %q", listener, kind, p.Policy.GetName())
	}
	return fmt.Sprintf("%s, which has another %s", listener, kind)
}
