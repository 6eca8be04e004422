package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// entryRow is one listener as it is written in a Gateway, or in a ListenerSet that its Gateway allows. It claims a
// port, or a hostname of a port.
type entryRow struct {
	// Key is namespace/gateway/listener, or namespace/gateway/namespace/set/listener, which is also the name of its
	// route configuration unless it shares one.
	Key     string
	Gateway *gatewayRow
	// Set is nil for a listener of the Gateway itself.
	Set   *listenerSetRow
	Spec  *gwapiv1.Listener
	Index int
	// Contrary is another listener of the same object whose protocol cannot share the port. Twin is one with the same
	// hostname.
	Contrary, Twin holderRow
	// Written are the problems that the object alone shows.
	Written []verdict.Problem
}

func (c *entryRow) equal(o *entryRow) bool {
	return c.Key == o.Key && c.Gateway.equal(o.Gateway) && c.Set.equal(o.Set) && c.Spec == o.Spec && c.Index == o.Index &&
		c.Contrary == o.Contrary && c.Twin == o.Twin && equalProblems(c.Written, o.Written)
}

// owner is the object that the listener is written in.
func (c *entryRow) owner() Object {
	if c.Set != nil {
		return c.Set.Set
	}
	return c.Gateway.Gateway
}

// ownerRef refers to the object that the listener is written in.
func (c *entryRow) ownerRef() verdict.Ref {
	if c.Set != nil {
		return listenerSetRef(c.Set.Set)
	}
	return gatewayRef(c.Gateway.Gateway)
}

// target is what policies on the listener are attached to.
func (c *entryRow) target() policies.Target {
	target := targetOf(c.ownerRef())
	target.Section = string(c.Spec.Name)
	return target
}

// targetOf is an object as a target of policies.
func targetOf(o verdict.Ref) policies.Target {
	return policies.Target{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
}

// above is the Gateway of a ListenerSet, whose policies hold for all listeners of the fleet. It is empty if the Gateway
// is the owner.
func (c *entryRow) above() []policies.Target {
	if c.Set == nil {
		return nil
	}
	return []policies.Target{c.Set.above()}
}

// chain is where policies can be attached to the listener.
func (c *entryRow) chain() []policies.Target {
	return policies.Chain(append([]policies.Target{c.target()}, c.above()...)...)
}

func (c *entryRow) fleet() string { return keyOf(c.Gateway.Gateway) }

// hostname is the listener's hostname in lower case, "*" if it has none.
func (c *entryRow) hostname() string {
	if c.Spec.Hostname == nil || *c.Spec.Hostname == "" {
		return hostname.Any
	}
	return strings.ToLower(string(*c.Spec.Hostname))
}

// protocol is the protocol of the listener. If it is not served, all its fields are false.
func (c *entryRow) protocol() protocol {
	if c.Spec.Protocol == gwapiv1.TLSProtocolType && c.Spec.TLS != nil &&
		deref(c.Spec.TLS.Mode) == gwapiv1.TLSModePassthrough {
		return passthrough
	}
	return protocols[c.Spec.Protocol]
}

// bindPort is the port that Envoy binds: a port that only root may bind is moved up by 10000, as Envoy Gateway does.
func (c *entryRow) bindPort() int32 {
	ep := c.Gateway.EnvoyProxy
	if ep != nil && ep.Spec.Provider != nil && ep.Spec.Provider.Kubernetes != nil {
		if same := ep.Spec.Provider.Kubernetes.UseListenerPortAsContainerPort; same != nil && *same {
			return c.Spec.Port
		}
	}
	if c.Spec.Port < 1024 {
		return c.Spec.Port + 10000
	}
	return c.Spec.Port
}

// portKey finds Envoy's listener. TCP and UDP have different ports.
func (c *entryRow) portKey() string { return c.portKeyOf(c.protocol().transport) }

// portKeyOf is the key of the port of another protocol with the same number.
func (c *entryRow) portKeyOf(transport corev1.Protocol) string {
	return c.fleet() + "|" + string(transport) + "/" + strconv.Itoa(int(c.bindPort()))
}

func (c *entryRow) field(path string) string {
	return fmt.Sprintf("spec.listeners[%d].%s", c.Index, path)
}

// compare orders the listeners of a fleet: first those of the Gateway, then those of ListenerSets by age, namespace and
// name (Gateway API, ListenerSetSpec.listeners). Listeners of one object keep their order.
func (c *entryRow) compare(o *entryRow) int {
	return cmp.Or(c.compareOwners(o), cmp.Compare(c.Index, o.Index))
}

// compareOwners is the part of that order that depends on the owners.
func (c *entryRow) compareOwners(o *entryRow) int {
	if c.Set == nil || o.Set == nil {
		return compareBool(c.Set != nil, o.Set != nil)
	}
	return policies.Older(c.Set.Set, o.Set.Set)
}

// first is the first of a fleet's listeners.
func first[L interface{ compare(L) int }](members []flow.Row[L]) L {
	return slices.MinFunc(members, func(a, b flow.Row[L]) int { return a.Value.compare(b.Value) }).Value
}

// gatewayEntries are the Gateway's own listeners.
func (t *Tables) gatewayEntries(_ *flow.Read, key string, g *gatewayRow) []flow.Row[*entryRow] {
	entries := make([]*entryRow, len(g.Gateway.Spec.Listeners))
	for i := range g.Gateway.Spec.Listeners {
		spec := &g.Gateway.Spec.Listeners[i]
		entries[i] = &entryRow{
			Key: key + "/" + string(spec.Name), Gateway: g, Spec: spec, Index: i,
			Written: listenerProblems(g.ListenerProblems, spec),
		}
	}
	return together(entries)
}

// setEntries are the listeners of a ListenerSet. A set that the Gateway does not allow has no entries.
func (t *Tables) setEntries(_ *flow.Read, key string, s *listenerSetRow) []flow.Row[*entryRow] {
	if !s.allowed() {
		return nil
	}
	entries := make([]*entryRow, len(s.Set.Spec.Listeners))
	for i := range s.Set.Spec.Listeners {
		spec := entryListener(&s.Set.Spec.Listeners[i])
		entries[i] = &entryRow{
			Key: s.listenerKey(spec.Name), Gateway: s.Gateway, Set: s, Spec: spec, Index: i,
			Written: listenerProblems(s.ListenerProblems, spec),
		}
	}
	return together(entries)
}

// listenerProblems picks a listener's problems.
func listenerProblems(problems []verdict.Problem, l *gwapiv1.Listener) []verdict.Problem {
	var picked []verdict.Problem
	for _, p := range problems {
		if p.Scope == string(l.Name) {
			picked = append(picked, p)
		}
	}
	return picked
}

// together compares the listeners of one object with each other.
func together(entries []*entryRow) []flow.Row[*entryRow] {
	rows := make([]flow.Row[*entryRow], len(entries))
	for i, c := range entries {
		c.compareWith(entries)
		rows[i] = flow.Row[*entryRow]{Key: c.Key, Value: c}
	}
	return rows
}
