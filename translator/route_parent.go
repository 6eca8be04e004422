package translator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// declareParents: the listeners that routes are attached to.
func (t *Tables) declareParents() {
	t.claims = flow.Expand(t.routes, "claims", (*parentRow).equal, t.parent)
	t.claimsByListener = flow.NewIndex(t.claims, "claims by listener", contested)
	kinds := flow.Keys(flow.NewIndex(t.claims, "claims by kind and listener", contestedByKind), "kinds of routes")
	t.contests = flow.Group(flow.NewIndex(kinds, "kinds of routes by listener", lastPart), "contests", equalContests,
		t.contest)
	t.parents = flow.Derive(t.claims, "parents", (*parentRow).equal, t.keepWon)
	t.parentsByRoute = flow.NewIndex(t.parents, "parents by route", func(_ string, p *parentRow) []string {
		return []string{p.Route.Key}
	})
}

// parentRow is one parentRef of a route that names a Gateway of ours, or a ListenerSet of one.
type parentRow struct {
	Route   *routeRow
	Index   int
	Gateway *gatewayRow
	// Set is nil if the parentRef names the Gateway itself.
	Set *listenerSetRow
	// Listeners are those that the route is attached to, with the hosts it serves there.
	Listeners []attachedListener
	// Lost are the hosts that more specific listeners have instead.
	Lost []lostHost
	// Problems say why the route is not attached at all, or, with another condition, what of it is not served.
	Problems []verdict.Problem
}

type attachedListener struct {
	Listener *listenerRow
	Hosts    []string
}

func (p *parentRow) equal(o *parentRow) bool {
	return p.Route.equal(o.Route) && p.Index == o.Index && p.Gateway.equal(o.Gateway) && p.Set.equal(o.Set) &&
		equalProblems(p.Problems, o.Problems) &&
		slices.EqualFunc(p.Lost, o.Lost, lostHost.equal) &&
		slices.EqualFunc(p.Listeners, o.Listeners, func(a, b attachedListener) bool {
			return a.Listener.equal(b.Listener) && slices.Equal(a.Hosts, b.Hosts)
		})
}

func (p *parentRow) ref() *gwapiv1.ParentReference { return &p.Route.Parents[p.Index] }

func parentKey(route string, index int) string { return fmt.Sprintf("%s|%d", route, index) }

func (t *Tables) parent(r *flow.Read, key string, route *routeRow) []flow.Row[*parentRow] {
	var rows []flow.Row[*parentRow]
	for i := range route.Parents {
		p := &parentRow{Route: route, Index: i}
		if !t.findParent(r, p) {
			continue // The parent is another controller's, or not there; absentParents tells of the latter.
		}
		t.attach(r, p)
		rows = append(rows, flow.Row[*parentRow]{Key: parentKey(key, i), Value: p})
	}
	return rows
}

// findParent finds the Gateway, or the ListenerSet and its Gateway, that the parentRef names, and reports whether they
// are ours.
func (t *Tables) findParent(r *flow.Read, p *parentRow) (ours bool) {
	parent := parentRefOf(p.Route, p.ref())
	switch key := Key(parent.Namespace, parent.Name); parent.Kind {
	case "Gateway":
		p.Gateway, ours = t.gateways.Get(r, key)
	case "ListenerSet":
		if p.Set, ours = t.listenerSets.Get(r, key); ours {
			p.Gateway = p.Set.Gateway
		}
	}
	return ours
}

// parentRefOf is what a parentRef names. Its kind is empty if its group is not Gateway API's.
func parentRefOf(route *routeRow, ref *gwapiv1.ParentReference) verdict.Ref {
	parent := verdict.Ref{
		Group: gwapiv1.GroupName, Kind: "Gateway", Namespace: route.Object.GetNamespace(),
		Name: string(ref.Name),
	}
	if ref.Kind != nil {
		parent.Kind = string(*ref.Kind)
	}
	if ref.Group != nil && *ref.Group != gwapiv1.GroupName {
		parent.Group, parent.Kind = string(*ref.Group), ""
	}
	if ref.Namespace != nil && *ref.Namespace != "" {
		parent.Namespace = string(*ref.Namespace)
	}
	return parent
}

// owner refers to what the parentRef names.
func (p *parentRow) owner() verdict.Ref {
	if p.Set != nil {
		return listenerSetRef(p.Set.Set)
	}
	return gatewayRef(p.Gateway.Gateway)
}

// name names the parent in messages.
func (p *parentRow) name() string {
	o := p.owner()
	return o.Kind + " " + Key(o.Namespace, o.Name)
}

// attach finds the listeners that the parentRef selects, that allow the route and that share a host with it. The first
// step that leaves none reports why.
func (t *Tables) attach(r *flow.Read, p *parentRow) {
	if p.Set != nil && !p.Set.allowed() {
		p.refuse("", gwapiv1.RouteReasonNoMatchingParent, verdict.Unresolved,
			fmt.Sprintf("%s is not accepted: %s", p.name(), p.Set.Problems[0]))
		return
	}
	selected := t.selected(r, p)
	if len(selected) == 0 {
		p.refuse("sectionName", gwapiv1.RouteReasonNoMatchingParent, verdict.Unresolved,
			fmt.Sprintf("%s has no listener %s: its listeners are %s", p.name(), wanted(p.ref()), listenerNames(p.written())))
		return
	}
	allowed := slices.DeleteFunc(selected, func(l *listenerRow) bool {
		return !l.allowsKind(p.Route.Kind.Name) || !t.allowsNamespace(r, l, p.Route.Object.GetNamespace())
	})
	if len(allowed) == 0 {
		p.refuse("", gwapiv1.RouteReasonNotAllowedByListeners, verdict.Unresolved,
			fmt.Sprintf("no listener of %s that is meant here allows %ss of namespace %q: see allowedRoutes of its listeners",
				p.name(), p.Route.Kind.Name, p.Route.Object.GetNamespace()))
		return
	}
	var wildcards []string
	for _, l := range allowed {
		hosts := hostname.Intersect(l.hostname(), p.Route.Hostnames)
		if len(hosts) == 0 {
			continue
		}
		hosts, lost := t.isolate(r, l, hosts)
		p.Lost = append(p.Lost, lost...)
		if p.Gateway.Scoped && !l.protocol().layer4 {
			exact, wild := scopable(hosts)
			if wildcards = append(wildcards, wild...); len(exact) == 0 && len(wild) > 0 {
				continue
			}
			hosts = exact
		}
		p.Listeners = append(p.Listeners, attachedListener{l, hosts})
	}
	if len(wildcards) > 0 {
		p.tellWildcards(wildcards)
	} else if len(p.Listeners) == 0 {
		p.refuse("", gwapiv1.RouteReasonNoMatchingListenerHostname, verdict.Unresolved,
			fmt.Sprintf("none of the hostnames %s fits the hostname of a listener of %s", joinHosts(p.Route.Hostnames),
				p.name()))
	}
}

func (p *parentRow) refuse(field string, reason gwapiv1.RouteConditionReason, weight verdict.Weight, message string) {
	path := fmt.Sprintf("spec.parentRefs[%d]", p.Index)
	if field != "" && p.ref().SectionName != nil {
		path += "." + field
	}
	p.Problems = append(p.Problems, verdict.Problem{
		Field: path, Reason: string(reason), Message: message, Weight: weight,
		Scope: fmt.Sprint(p.Index),
	})
}

// written are the listeners of the object that the parentRef names. A Gateway does not have those of its ListenerSets.
func (p *parentRow) written() []*gwapiv1.Listener {
	var listeners []*gwapiv1.Listener
	if p.Set == nil {
		for i := range p.Gateway.Gateway.Spec.Listeners {
			listeners = append(listeners, &p.Gateway.Gateway.Spec.Listeners[i])
		}
		return listeners
	}
	for i := range p.Set.Set.Spec.Listeners {
		listeners = append(listeners, entryListener(&p.Set.Set.Spec.Listeners[i]))
	}
	return listeners
}

func (p *parentRow) listenerKey(name gwapiv1.SectionName) string {
	if p.Set != nil {
		return p.Set.listenerKey(name)
	}
	return keyOf(p.Gateway.Gateway) + "/" + string(name)
}

func (t *Tables) selected(r *flow.Read, p *parentRow) []*listenerRow {
	var selected []*listenerRow
	for _, l := range p.written() {
		if !p.selects(l) {
			continue
		}
		if row, ok := t.listeners.Get(r, p.listenerKey(l.Name)); ok {
			selected = append(selected, row)
		}
	}
	return selected
}

// selects reports whether the parentRef means a listener of what it names.
func (p *parentRow) selects(l *gwapiv1.Listener) bool {
	ref := p.ref()
	return (deref(ref.SectionName) == "" || *ref.SectionName == l.Name) && (ref.Port == nil || *ref.Port == l.Port)
}

func (t *Tables) allowsNamespace(r *flow.Read, l *listenerRow, namespace string) bool {
	return t.selects(r, l.fromNamespaces(), namespace)
}

// fromNamespaces are the namespaces whose routes may be attached.
func (l *listenerRow) fromNamespaces() *fromNamespaces {
	from, selector := gwapiv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if a := l.Spec.AllowedRoutes; a != nil && a.Namespaces != nil {
		from, selector = *cmpOr(a.Namespaces.From, &from), a.Namespaces.Selector
	}
	return &fromNamespaces{from, selector, l.owner().GetNamespace()}
}

func cmpOr[T any](p, fallback *T) *T {
	if p == nil {
		return fallback
	}
	return p
}

func wanted(ref *gwapiv1.ParentReference) string {
	var parts []string
	if ref.SectionName != nil && *ref.SectionName != "" {
		parts = append(parts, fmt.Sprintf("%q", *ref.SectionName))
	}
	if ref.Port != nil {
		parts = append(parts, fmt.Sprintf("on port %d", *ref.Port))
	}
	return strings.Join(parts, " ")
}

func listenerNames(listeners []*gwapiv1.Listener) string {
	names := make([]string, len(listeners))
	for i, l := range listeners {
		names[i] = fmt.Sprintf("%q (%s %d)", l.Name, l.Protocol, l.Port)
	}
	return strings.Join(names, ", ")
}

func joinHosts(hosts []gwapiv1.Hostname) string {
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = fmt.Sprintf("%q", h)
	}
	return strings.Join(names, ", ")
}

// routeOnListeners are the route and each listener that it is attached to.
func routeOnListeners(_ string, p *parentRow) []string { return onListeners(p.Route.Key, p) }

// onListeners are the keys of the listeners of a parentRef, after something else.
func onListeners(what string, p *parentRow) []string {
	keys := attachedTo("", p)
	for i := range keys {
		keys[i] = what + "|" + keys[i]
	}
	return keys
}

// lastPart is the listener of a key that ends with one.
func lastPart(key, _ string) []string {
	_, last := splitLast(key)
	return []string{last}
}

func attachedTo(_ string, p *parentRow) []string {
	keys := make([]string, len(p.Listeners))
	for i, l := range p.Listeners {
		keys[i] = l.Listener.Key
	}
	return keys
}
