package translator

import (
	"maps"
	"math/bits"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// selectable is an object that selectors of policies can find. It holds nothing else of the object, so that no policy
// is computed again when something other than the labels changes.
type selectable struct {
	Target policies.Target
	Labels map[string]string
}

func (s *selectable) equal(o *selectable) bool {
	return s.Target == o.Target && maps.Equal(s.Labels, o.Labels)
}

// selection finds objects by kind, namespace and label. A policy reads the objects that have its rarest label, so only
// a change of one of these has it computed again.
type selection struct {
	byLabel *flow.Index[*selectable]
	// sizes say how many objects a key of the index has, as the number of binary digits, which seldom changes.
	sizes *flow.Table[int]
}

func declareSelection[T Object](table *flow.Table[T], kindOf func(T) string) *selection {
	rows := flow.Derive(table, "selectable "+table.Name(), (*selectable).equal,
		func(_ *flow.Read, _ string, o T) (*selectable, bool) {
			return &selectable{
				Target: policies.Target{Kind: kindOf(o), Namespace: o.GetNamespace(), Name: o.GetName()},
				Labels: o.GetLabels(),
			}, true
		})
	byLabel := flow.NewIndex(rows, "by label", selectionKeys)
	sizes := flow.Group(byLabel, "sizes of selectable "+table.Name(), flow.Same[int],
		func(_ *flow.Read, _ string, members []flow.Row[*selectable]) (int, bool) {
			return bits.Len(uint(len(members))), true
		})
	return &selection{byLabel: byLabel, sizes: sizes}
}

// selectionKeys are what a selectable is found by: all of its kind and namespace, and each of its labels there.
func selectionKeys(_ string, s *selectable) []string {
	place := selectionPlace(s.Target.Kind, s.Target.Namespace)
	keys := make([]string, 1, 1+len(s.Labels))
	keys[0] = place
	for key, value := range s.Labels {
		keys = append(keys, place+"|"+key+"="+value)
	}
	return keys
}

func selectionPlace(kind, namespace string) string { return kind + "|" + namespace }

// candidates are the objects of a kind in a namespace that have a label of each condition, and others that have a label
// of the rarest one.
func (s *selection) candidates(r *flow.Read, place string, conditions [][]string) []flow.Row[*selectable] {
	if len(conditions) == 0 {
		return s.byLabel.Lookup(r, place)
	}
	rarest := conditions[0]
	if len(conditions) > 1 {
		rarest = slices.MinFunc(conditions, func(a, b []string) int { return s.size(r, place, a) - s.size(r, place, b) })
	}
	var found []flow.Row[*selectable]
	for _, label := range rarest {
		found = append(found, s.byLabel.Lookup(r, place+"|"+label)...)
	}
	return found
}

// size is about how many objects have one of the labels.
func (s *selection) size(r *flow.Read, place string, labels []string) int {
	sum := 0
	for _, label := range labels {
		digits, _ := s.sizes.Get(r, place+"|"+label)
		sum += 1 << digits
	}
	return sum
}

// selectTargets finds the targets of a policy's selector.
func (t *Tables) selectTargets(r *flow.Read, policy verdict.Ref, s policies.Selector) []policies.Target {
	var targets []policies.Target
	for _, namespace := range t.selectedNamespaces(r, policy, s) {
		var labels map[string]string
		if ns, ok := t.in.namespaces.Get(r, namespace); ok {
			labels = ns.Labels
		}
		for _, row := range t.targetKinds[s.Kind].selection.candidates(r, selectionPlace(s.Kind, namespace), s.Labels()) {
			target := row.Value.Target
			if !s.Matches(s.Kind, namespace, row.Value.Labels, labels) {
				continue // Not selected is not a mistake.
			}
			to := verdict.Ref{Group: gwapiv1.GroupName, Kind: s.Kind, Namespace: namespace, Name: target.Name}
			if s.NeedsGrant(namespace) && !t.permitted(r, policy, to) {
				continue // Saying so would tell one tenant of another's objects, see Selector.NeedsGrant.
			}
			targets = append(targets, target)
		}
	}
	return targets
}

// selectedNamespaces are those in which a selector may find something: its own, and those with a grant for policies of
// its kind and namespace.
func (t *Tables) selectedNamespaces(r *flow.Read, policy verdict.Ref, s policies.Selector) []string {
	namespaces := []string{policy.Namespace}
	if s.Elsewhere() {
		for _, row := range t.grantsByReferrer.Lookup(r, referrerKey(policy.Group, policy.Kind, policy.Namespace)) {
			namespaces = append(namespaces, row.Value.Namespace)
		}
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces)
}

func referrerKey(group, kind, namespace string) string { return group + "|" + kind + "|" + namespace }

// grantedReferrers are the kinds and namespaces that a grant is for.
func grantedReferrers(_ string, g *gwapiv1.ReferenceGrant) []string {
	keys := make([]string, len(g.Spec.From))
	for i, f := range g.Spec.From {
		keys[i] = referrerKey(string(f.Group), string(f.Kind), string(f.Namespace))
	}
	return keys
}
