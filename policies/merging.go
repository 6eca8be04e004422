package policies

import (
	stdjson "encoding/json"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"k8s.io/apimachinery/pkg/util/json"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/merge"
	"gatehouse/policies/verdict"
)

// mergeTypeField is the field that says how a policy is merged.
const mergeTypeField = SpecField + ".mergeType"

// mergingOf returns how a policy is merged; nil if its kind has no mergeType that is served.
func mergingOf(p Object) *v1alpha1.Merging {
	if m, ok := p.(interface{ GetMerging() *v1alpha1.Merging }); ok {
		return m.GetMerging()
	}
	return nil
}

// Merges reports whether the policy is merged over less specific ones. One whose mergeType is refused by Check is not.
func (k Kind) Merges(p Object) bool {
	m := mergingOf(p)
	return m != nil && m.MergeType != nil && len(k.checkMerging(p)) == 0
}

// checkMerging finds what is wrong with the mergeType of a policy.
func (k Kind) checkMerging(p Object) []verdict.Problem {
	m := mergingOf(p)
	if m == nil || m.MergeType == nil {
		return nil
	}
	if how := *m.MergeType; how != v1alpha1.StrategicMerge && how != v1alpha1.JSONMerge {
		return []verdict.Problem{feature.Invalid(mergeTypeField,
			"%q is not known: write StrategicMerge or JSONMerge, or remove it to replace less specific policies", how)}
	}
	for _, kind := range k.kindsOfTargets(p) {
		if targetKindNamed(kind).Section != sectionRule {
			return []verdict.Problem{feature.Invalid(mergeTypeField,
				"a policy with mergeType can only target routes, and this one targets a %s: remove that target, or mergeType",
				kind)}
		}
	}
	return nil
}

// Merged is what several policies of a kind have been merged into.
type Merged struct {
	// Policy has the metadata and the targets of the most specific policy.
	Policy Object

	kind Kind
	// members are the merged policies, the most specific one first.
	members  []Object
	document *merge.Document
}

// Merge merges policies of the kind, the most specific one first. All but the last must have a mergeType.
func (k Kind) Merge(members []Object) (*Merged, error) {
	last := len(members) - 1
	base, err := written(members[last], last == 0)
	if err != nil {
		return nil, err
	}
	m := &Merged{Policy: k.New(), kind: k, members: members, document: merge.NewDocument(base)}
	for i := last - 1; i >= 0; i-- {
		changes, err := written(members[i], i == 0)
		if err != nil {
			return nil, err
		}
		if err := m.document.Merge(*mergingOf(members[i]).MergeType, changes, m.Policy); err != nil {
			return nil, err
		}
	}
	if err := stdjson.Unmarshal(m.document.JSON(), m.Policy); err != nil {
		return nil, fmt.Errorf("decoding the merged policy: %w", err)
	}
	inherit(m.Policy, members)
	first := members[0]
	m.Policy.SetNamespace(first.GetNamespace())
	m.Policy.SetName(first.GetName())
	m.Policy.SetUID(first.GetUID())
	m.Policy.SetGeneration(first.GetGeneration())
	m.Policy.SetLabels(first.GetLabels())
	m.Policy.SetAnnotations(first.GetAnnotations())
	return m, nil
}

// inherit adds up what has no place in the document, because each part of it stays with the policy that wrote it.
func inherit(merged Object, members []Object) {
	into, ok := merged.(*v1alpha1.BackendTrafficPolicy)
	if !ok {
		return
	}
	from := make([]*v1alpha1.BackendTrafficPolicy, len(members))
	for i, m := range members {
		from[i] = m.(*v1alpha1.BackendTrafficPolicy)
	}
	into.InheritLimits(from)
}

// Owner returns the policy that wrote a field, such as spec.basicAuth.users. If several wrote parts of it, it is the
// most specific of them: nobody can change a part of a reference and have it resolved with the grants of another.
func (m *Merged) Owner(field string) Object {
	return m.members[len(m.members)-1-m.document.Origin(field)]
}

// Route is Kind.Route. Names say who wrote the part of the spec that they are for.
func (m *Merged) Route(have feature.Have, route *routev3.Route) {
	m.kind.routeOf(m.Policy, m.Owner, have, route)
}

// whereAndHow are the fields of a spec that say where a policy takes effect, and how. They are not inherited.
var whereAndHow = []string{"targetRef", "targetRefs", "targetSelectors", "mergeType"}

// written returns what a policy contributes to a merge, as JSON with the field spec. Its targets belong to it only if
// it is the most specific one.
func written(p Object, first bool) ([]byte, error) {
	var object struct {
		Spec stdjson.RawMessage `json:"spec"`
	}
	if m := mergingOf(p); m != nil && m.Written != nil {
		object.Spec = m.Written
	} else if text, err := stdjson.Marshal(p); err != nil {
		return nil, fmt.Errorf("encoding %s/%s: %w", p.GetNamespace(), p.GetName(), err)
	} else if err := stdjson.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("decoding %s/%s: %w", p.GetNamespace(), p.GetName(), err)
	}
	spec := map[string]any{}
	if err := json.Unmarshal(object.Spec, &spec); err != nil {
		return nil, fmt.Errorf("decoding the spec of %s/%s: %w", p.GetNamespace(), p.GetName(), err)
	}
	if !first {
		for _, field := range whereAndHow {
			delete(spec, field)
		}
	}
	withoutNulls(spec)
	return stdjson.Marshal(map[string]any{SpecField: spec})
}

// withoutNulls removes all fields that are null. The API server removes them when it stores a policy, so a policy from
// a file must not have another meaning by them.
func withoutNulls(value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			if field == nil {
				delete(v, name)
			}
			withoutNulls(field)
		}
	case []any:
		for _, item := range v {
			withoutNulls(item)
		}
	}
}
