package translator

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// listenerSetRow is a ListenerSet whose parent is a Gateway of ours.
type listenerSetRow struct {
	Set     *gwapiv1.ListenerSet
	Gateway *gatewayRow
	// Problems say why the Gateway does not have it. Those of its listeners are in their own rows.
	Problems []verdict.Problem
	// ListenerProblems were found on the ListenerSet alone but belong to the listener that is their Scope.
	ListenerProblems []verdict.Problem
}

func (s *listenerSetRow) equal(o *listenerSetRow) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Set == o.Set && s.Gateway.equal(o.Gateway) && equalProblems(s.Problems, o.Problems) &&
		equalProblems(s.ListenerProblems, o.ListenerProblems)
}

// allowed reports whether the Gateway allows the ListenerSet.
func (s *listenerSetRow) allowed() bool { return len(s.Problems) == 0 }

// above is the target of policies on all listeners of the Gateway.
func (s *listenerSetRow) above() policies.Target { return targetOf(gatewayRef(s.Gateway.Gateway)) }

func (s *listenerSetRow) listenerKey(name gwapiv1.SectionName) string {
	return keyOf(s.Gateway.Gateway) + "/" + keyOf(s.Set) + "/" + string(name)
}

// entryListener is the entry as a listener: the two have the same fields.
func entryListener(e *gwapiv1.ListenerEntry) *gwapiv1.Listener { return (*gwapiv1.Listener)(e) }

func listenerSetRef(s *gwapiv1.ListenerSet) verdict.Ref {
	return verdict.Ref{Group: gwapiv1.GroupName, Kind: "ListenerSet", Namespace: s.Namespace, Name: s.Name}
}

// parentKeyOf is the key of the Gateway that the ListenerSet belongs to, false if its parent is no Gateway.
func parentKeyOf(s *gwapiv1.ListenerSet) (string, bool) {
	ref := &s.Spec.ParentRef
	if (ref.Group != nil && *ref.Group != gwapiv1.GroupName) || (ref.Kind != nil && *ref.Kind != "Gateway") {
		return "", false
	}
	namespace := s.Namespace
	if ref.Namespace != nil && *ref.Namespace != "" {
		namespace = string(*ref.Namespace)
	}
	return Key(namespace, string(ref.Name)), true
}

func (t *Tables) listenerSet(r *flow.Read, _ string, s *gwapiv1.ListenerSet) (*listenerSetRow, bool) {
	key, ok := parentKeyOf(s)
	if !ok {
		return nil, false // Another kind of parent is another controller's.
	}
	gw, ok := t.gateways.Get(r, key)
	if !ok {
		return nil, false // The Gateway is another controller's, or not there; its status tells of the latter.
	}
	row := &listenerSetRow{Set: s, Gateway: gw}
	for _, p := range t.rules.Check(s) {
		if p.Scope == "" {
			row.Problems = append(row.Problems, p)
		} else {
			row.ListenerProblems = append(row.ListenerProblems, p)
		}
	}
	if !t.allowsSets(r, gw.Gateway, s.Namespace) {
		row.Problems = append(row.Problems, verdict.Problem{
			Field: "spec.parentRef", Reason: string(gwapiv1.ListenerSetReasonNotAllowed), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("Gateway %s allows no ListenerSets of namespace %q: see its allowedListeners", key,
				s.Namespace),
		})
	}
	return row, true
}

// allowsSets reports whether the Gateway takes ListenerSets of the namespace. By default it takes none.
func (t *Tables) allowsSets(r *flow.Read, g *gwapiv1.Gateway, namespace string) bool {
	from, selector := gwapiv1.NamespacesFromNone, (*metav1.LabelSelector)(nil)
	if a := g.Spec.AllowedListeners; a != nil && a.Namespaces != nil {
		from, selector = *cmpOr(a.Namespaces.From, &from), a.Namespaces.Selector
	}
	return t.selects(r, &fromNamespaces{from, selector, g.Namespace}, namespace)
}

// fromNamespaces are the namespaces from which something may attach to an object.
type fromNamespaces struct {
	from     gwapiv1.FromNamespaces
	selector *metav1.LabelSelector
	// own is the namespace of the object.
	own string
}

// selects reports whether the namespace is one of them. A selector that cannot be read selects none.
func (t *Tables) selects(r *flow.Read, f *fromNamespaces, namespace string) bool {
	switch f.from {
	case gwapiv1.NamespacesFromAll:
		return true
	case gwapiv1.NamespacesFromSame:
		return namespace == f.own
	case gwapiv1.NamespacesFromSelector:
		compiled, err := metav1.LabelSelectorAsSelector(f.selector)
		if err != nil || f.selector == nil {
			return false // Who wrote it is told so, see policies.CheckNamespaces.
		}
		ns, ok := t.in.namespaces.Get(r, namespace)
		return ok && compiled.Matches(labels.Set(ns.Labels))
	}
	return false
}
