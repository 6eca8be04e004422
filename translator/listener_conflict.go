package translator

import (
	"fmt"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// Listeners that share a port conflict if neither the first bytes of a connection nor a hostname distinguish them
// (Gateway API, GatewaySpec.listeners). The Gateway decides the protocols of its ports and who has their hostnames.
// What it leaves open is decided by the oldest ListenerSet. An object that contradicts itself decides nothing: all its
// conflicting listeners lose, unless an earlier object has decided which of them is right. If a Gateway contradicts
// itself about a port, nobody gets the port. Other reasons why a listener cannot be served, such as its certificate, do
// not count, so that a port does not change its owner when a Secret is late. Ports are those that Envoy binds: 80 and
// 10080 are the same port, because nothing shows which of the two a connection was meant for.

// holderRow is the listener that has a port or a hostname of a port. Later listeners that conflict with it lose.
type holderRow struct {
	// Key is the listener's, Listener its name.
	Key, Listener string
	Protocol      gwapiv1.ProtocolType
	Port          int32
	// Owner is the ListenerSet or Gateway in which it is written.
	Owner verdict.Ref
}

func (c *entryRow) holder() holderRow {
	return holderRow{
		Key: c.Key, Listener: string(c.Spec.Name), Protocol: c.Spec.Protocol, Port: c.Spec.Port,
		Owner: c.ownerRef(),
	}
}

// compareWith notes the first of the object's listeners that excludes this one, and the first that has the same
// hostname.
func (c *entryRow) compareWith(entries []*entryRow) {
	for _, o := range entries {
		switch {
		case o == c || !c.claims() || !o.claims() || c.portKey() != o.portKey():
			// What is not on the port takes nothing of it.
		case o.holder().excludes(c):
			if c.Contrary.Key == "" {
				c.Contrary = o.holder()
			}
		case c.hostKey() == o.hostKey() && c.Twin.Key == "":
			c.Twin = o.holder()
		}
	}
}

// speech is equal for protocols that can share a port: both HTTPS and TLS begin with a handshake, whose server name
// distinguishes them.
func speech(p gwapiv1.ProtocolType) gwapiv1.ProtocolType {
	if protocols[p].sni {
		return gwapiv1.TLSProtocolType
	}
	return p
}

// excludes reports whether the two cannot share a socket of Envoy, because Envoy could not know the protocol or which
// port was meant.
func (h holderRow) excludes(c *entryRow) bool {
	return speech(h.Protocol) != speech(c.Spec.Protocol) || h.Port != c.Spec.Port
}

// alone reports whether a port has one listener of the protocol.
func alone(p gwapiv1.ProtocolType) bool { return protocols[p].layer4 && !protocols[p].sni }

// claims reports whether the listener uses its port. A listener with a protocol that is not served does not.
func (c *entryRow) claims() bool {
	_, served := protocols[c.Spec.Protocol]
	return served
}

// hostKey finds the listeners that differ only in their speech.
func (c *entryRow) hostKey() string {
	if alone(c.Spec.Protocol) {
		return c.portKey() + "|" + hostname.Any
	}
	return c.portKey() + "|" + c.hostname()
}

func claimedPorts(_ string, c *entryRow) []string {
	if !c.claims() {
		return nil
	}
	return []string{c.portKey()}
}

func claimedHosts(_ string, c *entryRow) []string {
	if !c.claims() {
		return nil
	}
	return []string{c.hostKey()}
}

// portHolders are the listeners that decide the protocol of a port: one, or one of each kind if the Gateway contradicts
// itself.
func (t *Tables) portHolders(_ *flow.Read, _ string, members []flow.Row[*entryRow]) ([]holderRow, bool) {
	var holders []holderRow
	var sets []flow.Row[*entryRow]
	for _, m := range members {
		c := m.Value
		switch {
		case c.Set == nil && !slices.ContainsFunc(holders, func(h holderRow) bool { return !h.excludes(c) }):
			holders = append(holders, c.holder())
		case c.Set != nil && c.Contrary.Key == "":
			sets = append(sets, m)
		}
	}
	if len(holders) == 0 && len(sets) > 0 {
		holders = append(holders, first(sets).holder())
	}
	return holders, len(holders) > 0
}

// hostHolder is the listener that has a hostname of a port, among those whose protocol does not lose.
func (t *Tables) hostHolder(r *flow.Read, _ string, members []flow.Row[*entryRow]) (holderRow, bool) {
	var left []flow.Row[*entryRow]
	for _, m := range members {
		if c := m.Value; (c.Set == nil || c.Twin.Key == "") && t.stronger(r, c) == nil {
			left = append(left, m)
		}
	}
	if len(left) == 0 {
		return holderRow{}, false
	}
	return first(left).holder(), true
}

// stronger is the listener whose protocol or port excludes this one, nil if there is none.
func (t *Tables) stronger(r *flow.Read, c *entryRow) *holderRow {
	holders, _ := t.holdersOfPorts.Get(r, c.portKey())
	others := false
	for _, h := range holders {
		if h.Owner == c.ownerRef() {
			continue // What an object has against itself is in Contrary.
		}
		others = true
		switch {
		case !h.excludes(c):
		case c.Contrary.Key != "":
			// The object contradicts itself, whoever else has the port: it must not keep that one from leaving it.
			return &c.Contrary
		default:
			return &h
		}
	}
	if c.Contrary.Key == "" || others {
		return nil
	}
	return &c.Contrary
}

// namesake is the other listener that has this one's hostname, nil if this one has it.
func (t *Tables) namesake(r *flow.Read, c *entryRow) *holderRow {
	h, ok := t.holdersOfHosts.Get(r, c.hostKey())
	switch {
	case c.Twin.Key != "":
		return &c.Twin
	case ok && h.Owner != c.ownerRef():
		return &h
	}
	return nil
}

// conflict says which other listener keeps this one from being served, nil if none does.
func (t *Tables) conflict(r *flow.Read, c *entryRow) *verdict.Problem {
	if !c.claims() {
		return nil
	}
	switch h := t.stronger(r, c); {
	case h == nil:
	case h.Port != c.Spec.Port:
		p := c.portConflict(h)
		return &p
	default:
		p := c.protocolConflict(h)
		return &p
	}
	if h := t.namesake(r, c); h != nil {
		p := c.hostConflict(h)
		return &p
	}
	return nil
}

func (c *entryRow) protocolConflict(h *holderRow) verdict.Problem {
	return c.conflicting("protocol", gwapiv1.ListenerReasonProtocolConflict, h,
		fmt.Sprintf("%s cannot share port %d with %s, which is %s%s",
			c.Spec.Protocol, c.Spec.Port, c.nameOf(h), h.Protocol, c.wayOut(h, "port")))
}

func (c *entryRow) portConflict(h *holderRow) verdict.Problem {
	return c.conflicting("port", gwapiv1.ListenerReasonPortUnavailable, h,
		fmt.Sprintf("Envoy would listen on %d both for port %d and for port %d of %s: ports below 1024 are moved up by 10000%s",
			c.bindPort(), c.Spec.Port, h.Port, c.nameOf(h), c.wayOut(h, "port")))
}

func (c *entryRow) hostConflict(h *holderRow) verdict.Problem {
	if alone(c.Spec.Protocol) {
		return c.conflicting("port", gwapiv1.ListenerReasonProtocolConflict, h,
			fmt.Sprintf("%s is %s on port %d too, and nothing tells the two apart%s",
				c.nameOf(h), h.Protocol, c.Spec.Port, c.wayOut(h, "port")))
	}
	return c.conflicting("hostname", gwapiv1.ListenerReasonHostnameConflict, h,
		fmt.Sprintf("%s has the same hostname %q on port %d%s",
			c.nameOf(h), deref(c.Spec.Hostname), c.Spec.Port, c.wayOut(h, "hostname or port")))
}

func (c *entryRow) conflicting(field string, reason gwapiv1.ListenerConditionReason, h *holderRow,
	message string,
) verdict.Problem {
	p := verdict.Problem{
		Field: c.field(field), Reason: string(reason), Condition: string(gwapiv1.ListenerConditionConflicted),
		Message: message, Weight: verdict.Conflicted, Scope: string(c.Spec.Name),
	}
	if h.Owner == c.ownerRef() {
		p.Weight = verdict.Invalid
	}
	return p
}

// nameOf names a listener to the owner of this one. A ListenerSet in another namespace is not named.
func (c *entryRow) nameOf(h *holderRow) string {
	listener := fmt.Sprintf("listener %q", h.Listener)
	switch own := c.ownerRef(); {
	case h.Owner == own:
		return listener
	case h.Owner.Kind == own.Kind && h.Owner.Namespace != own.Namespace:
		return "a listener of a ListenerSet in another namespace"
	default:
		return fmt.Sprintf("%s of %s %s/%s", listener, h.Owner.Kind, h.Owner.Namespace, h.Owner.Name)
	}
}

// nameBeside names another listener of the port in a list. One of the same object has only its name.
func (c *entryRow) nameBeside(o *entryRow) string {
	switch own, owner := c.ownerRef(), o.ownerRef(); {
	case owner == own:
		return string(o.Spec.Name)
	case owner.Kind == "ListenerSet" && owner.Namespace != own.Namespace:
		return "one of a ListenerSet in another namespace"
	default:
		return fmt.Sprintf("%s/%s/%s", owner.Namespace, owner.Name, o.Spec.Name)
	}
}

// wayOut says who wins and what to change.
func (c *entryRow) wayOut(h *holderRow, what string) string {
	switch own := c.ownerRef(); {
	case h.Owner == own:
		return ": give one of them another " + what
	case h.Owner.Kind == own.Kind:
		return ": that one comes first, so use another " + what
	default:
		return ": the Gateway's own come first, so use another " + what
	}
}
