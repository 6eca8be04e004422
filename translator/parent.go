package translator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// parentRow is one parentRef of a route that names a Gateway of ours.
type parentRow struct {
	Route   *routeRow
	Index   int
	Gateway *gatewayRow
	// Listeners are those that the route is attached to, with the hosts it serves there.
	Listeners []attachedListener
	// Problems say why the route is not attached at all, or, with a condition of their own, what of it is not served.
	Problems []verdict.Problem
}

type attachedListener struct {
	Listener *listenerRow
	Hosts    []string
}

func (p *parentRow) equal(o *parentRow) bool {
	return p.Route.equal(o.Route) && p.Index == o.Index && p.Gateway.equal(o.Gateway) && equalProblems(p.Problems, o.Problems) &&
		slices.EqualFunc(p.Listeners, o.Listeners, func(a, b attachedListener) bool {
			return a.Listener.equal(b.Listener) && slices.Equal(a.Hosts, b.Hosts)
		})
}

func (p *parentRow) ref() *gwapiv1.ParentReference { return &p.Route.Parents[p.Index] }

func parentKey(route string, index int) string { return fmt.Sprintf("%s|%d", route, index) }

func (t *Tables) parent(r *flow.Read, key string, route *routeRow) []flow.Row[*parentRow] {
	var rows []flow.Row[*parentRow]
	for i := range route.Parents {
		gw, ok := t.parentGateway(r, route, &route.Parents[i])
		if !ok {
			continue // The Gateway is another controller's, or not there; routeProblems tells of the latter.
		}
		p := &parentRow{Route: route, Index: i, Gateway: gw}
		t.attach(r, p)
		rows = append(rows, flow.Row[*parentRow]{Key: parentKey(key, i), Value: p})
	}
	return rows
}

func (t *Tables) parentGateway(r *flow.Read, route *routeRow, ref *gwapiv1.ParentReference) (*gatewayRow, bool) {
	if (ref.Group != nil && *ref.Group != gwapiv1.GroupName) || (ref.Kind != nil && *ref.Kind != "Gateway") {
		return nil, false
	}
	return t.gateways.Get(r, parentGatewayKey(route, ref))
}

func parentGatewayKey(route *routeRow, ref *gwapiv1.ParentReference) string {
	namespace := route.Object.GetNamespace()
	if ref.Namespace != nil && *ref.Namespace != "" {
		namespace = string(*ref.Namespace)
	}
	return Key(namespace, string(ref.Name))
}

// attach finds the listeners that the parentRef selects, that allow the route and that share a host with it. The first step that
// leaves none says why.
func (t *Tables) attach(r *flow.Read, p *parentRow) {
	selected := t.selected(r, p)
	if len(selected) == 0 {
		p.refuse("sectionName", gwapiv1.RouteReasonNoMatchingParent, verdict.Unresolved,
			fmt.Sprintf("Gateway %s has no listener %s; its listeners are %s", keyOf(p.Gateway.Gateway), wanted(p.ref()), listenerNames(p.Gateway.Gateway)))
		return
	}
	allowed := slices.DeleteFunc(selected, func(l *listenerRow) bool {
		return !l.allowsKind(p.Route.Kind.Name) || !t.allowsNamespace(r, l, p.Route.Object.GetNamespace())
	})
	if len(allowed) == 0 {
		p.refuse("", gwapiv1.RouteReasonNotAllowedByListeners, verdict.Unresolved,
			fmt.Sprintf("no listener of Gateway %s that is meant here allows %ss of namespace %q; see allowedRoutes of its listeners",
				keyOf(p.Gateway.Gateway), p.Route.Kind.Name, p.Route.Object.GetNamespace()))
		return
	}
	var wildcards []string
	for _, l := range allowed {
		hosts := intersect(l.hostname(), p.Route.Hostnames)
		if len(hosts) == 0 {
			continue
		}
		hosts = t.isolate(r, l, hosts)
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
			fmt.Sprintf("none of the hostnames %s fits the hostname of a listener of Gateway %s", joinHosts(p.Route.Hostnames), keyOf(p.Gateway.Gateway)))
	}
}

func (p *parentRow) refuse(field string, reason gwapiv1.RouteConditionReason, weight verdict.Weight, message string) {
	path := fmt.Sprintf("spec.parentRefs[%d]", p.Index)
	if field != "" && p.ref().SectionName != nil {
		path += "." + field
	}
	p.Problems = append(p.Problems, verdict.Problem{Field: path, Reason: string(reason), Message: message, Weight: weight, Scope: fmt.Sprint(p.Index)})
}

func (t *Tables) selected(r *flow.Read, p *parentRow) []*listenerRow {
	ref := p.ref()
	var selected []*listenerRow
	for _, l := range t.listenersByFleet.Lookup(r, keyOf(p.Gateway.Gateway)) {
		if ref.SectionName != nil && *ref.SectionName != "" && *ref.SectionName != l.Value.Spec.Name {
			continue
		}
		if ref.Port != nil && *ref.Port != l.Value.Spec.Port {
			continue
		}
		selected = append(selected, l.Value)
	}
	return selected
}

// isolate takes away the hosts that a more specific listener of the same port owns: a request belongs to one listener only
// (Gateway API, listener isolation).
func (t *Tables) isolate(r *flow.Read, l *listenerRow, hosts []string) []string {
	rivals := t.rivals(r, l)
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool {
		return slices.ContainsFunc(rivals, func(o *listenerRow) bool {
			return covers(o.hostname(), host) && moreSpecific(o.hostname(), l.hostname())
		})
	})
}

func (t *Tables) allowsNamespace(r *flow.Read, l *listenerRow, namespace string) bool {
	from, selector := gwapiv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if a := l.Spec.AllowedRoutes; a != nil && a.Namespaces != nil {
		from, selector = *cmpOr(a.Namespaces.From, &from), a.Namespaces.Selector
	}
	switch from {
	case gwapiv1.NamespacesFromAll:
		return true
	case gwapiv1.NamespacesFromSame:
		return namespace == l.Gateway.Gateway.Namespace
	case gwapiv1.NamespacesFromSelector:
		compiled, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || selector == nil {
			return false // The listener carries the problem.
		}
		ns, ok := t.in.namespaces.Get(r, namespace)
		return ok && compiled.Matches(labels.Set(ns.Labels))
	}
	return false
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

func listenerNames(g *gwapiv1.Gateway) string {
	names := make([]string, len(g.Spec.Listeners))
	for i, l := range g.Spec.Listeners {
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
