package translator

import (
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/translator/flow"
)

// touched are the rows that the effective configuration of a change is made of: the keys of parents, and of listeners.
// They may be more than those that really differ, and never fewer.
type touched struct {
	parents, listeners map[string]bool
}

func newTouched() *touched {
	return &touched{parents: map[string]bool{}, listeners: map[string]bool{}}
}

// toucher finds them.
type toucher struct {
	*touched
	tables *Tables
	read   *flow.Read
}

// touchedBy finds what a change of an object touches. It looks at all tables whose rows are told of. A row that is gone
// is found by its own change.
func (t *Tables) touchedBy(r *flow.Read, c *flow.Changes, object Object) *touched {
	x := toucher{newTouched(), t, r}
	x.target(targetOf(t.refOf(object)))
	x.rowsIn(c)
	return x.touched
}

// rowsIn finds what is touched by the rows that changed.
func (x *toucher) rowsIn(c *flow.Changes) {
	t := x.tables
	for _, key := range flow.Changed(c, t.bindings) { // Those of filters have no parent, so no row has such a key.
		x.parents[key[:max(strings.LastIndex(key, "|"), 0)]] = true
	}
	for _, keys := range [][]string{flow.Changed(c, t.rulesOf), flow.Changed(c, t.routeStatuses)} {
		for _, key := range keys {
			x.route(key)
		}
	}
	x.listenersIn(c)
	x.policiesIn(c)
}

// listenersIn finds the listeners about which something changed, and with them their routes.
func (x *toucher) listenersIn(c *flow.Changes) {
	t := x.tables
	for _, keys := range [][]string{
		flow.Changed(c, t.listeners), flow.Changed(c, t.listenersSettings), flow.Changed(c, t.guards),
	} {
		for _, key := range keys {
			x.listener(key)
		}
	}
	for _, key := range flow.Changed(c, t.secrets) {
		for _, row := range t.listenersBySecret.Lookup(x.read, key) {
			x.listener(row.Key)
		}
	}
	if len(flow.Changed(c, t.in.namespaces)) == 0 {
		return
	}
	for _, row := range t.listeners.All(x.read) { // They list the namespaces that a selector finds.
		if row.Value.fromNamespaces().from == gwapiv1.NamespacesFromSelector {
			x.listeners[row.Key] = true
		}
	}
}

// policiesIn finds what the policies are attached to about which something changed.
func (x *toucher) policiesIn(c *flow.Changes) {
	t := x.tables
	for _, key := range flow.Changed(c, t.attached.rows) {
		if was, had := flow.Before(c, t.attached.rows, key); had {
			x.target(was.Target)
		}
		if is, has := t.attached.rows.Get(x.read, key); has {
			x.target(is.Target)
		}
	}
	for _, key := range flow.Changed(c, t.mergedPolicies) {
		for _, member := range rowsOf(x.read, t.policies, strings.Split(key, memberSeparator)) {
			if member == nil {
				continue // It is gone, and so are its attachments.
			}
			for _, row := range t.attached.byPolicy.Lookup(x.read, member.ref().String()) {
				x.target(row.Value.Target)
			}
		}
	}
}

// target adds an object: a route, or all listeners of a Gateway or a ListenerSet with their routes.
func (x *toucher) target(target policies.Target) {
	target = target.Whole()
	x.route(targetedRoute(target))
	if x.tables.targetKinds[target.Kind].served == nil {
		return
	}
	for _, row := range x.tables.listeners.All(x.read) {
		for _, place := range row.Value.chain() {
			if place.Whole() == target {
				x.listener(row.Key)
			}
		}
	}
}

func (x *toucher) route(key string) {
	for _, row := range x.tables.parentsByRoute.Lookup(x.read, key) {
		x.parents[row.Key] = true
	}
}

// listener adds a listener with its routes.
func (x *toucher) listener(key string) {
	x.listeners[key] = true
	for _, row := range x.tables.parentsByListener.Lookup(x.read, key) {
		x.parents[row.Key] = true
	}
}
