package webhook

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
)

// defaultTarget is the kind of a target for which only the name is given; see
// docs/decisions/003-defaulting-target-kind.md.
const defaultTarget = "Gateway"

// targetReferences completes references with only a name. The schema of policies requires group and kind, and is
// checked after this.
var targetReferences = Mutation{
	Name:   "group and kind of targetRefs",
	Kinds:  policyKinds(),
	Mutate: completeTargets,
}

func policyKinds() []schema.GroupKind {
	var kinds []schema.GroupKind
	for _, k := range policies.Kinds {
		if !k.Unserved { // The CRDs of these kinds are not ours, and have their own requirements.
			kinds = append(kinds, schema.GroupKind{Group: v1alpha1.GroupName, Kind: k.Kind})
		}
	}
	return kinds
}

func completeTargets(object map[string]any) (changed bool, notes []string) {
	spec, _ := object["spec"].(map[string]any)
	complete := func(field string, value any) {
		ref, ok := value.(map[string]any)
		if !ok || ref["name"] == nil {
			return
		}
		if _, given := ref["group"]; !given {
			ref["group"], changed = gwapiv1.GroupName, true
		}
		if _, given := ref["kind"]; given || ref["group"] != gwapiv1.GroupName {
			return
		}
		ref["kind"], changed = defaultTarget, true
		notes = append(notes, fmt.Sprintf("%s.kind: not given for %q, so it is %s: write kind: %s, or the kind that is meant",
			field, fmt.Sprint(ref["name"]), defaultTarget, defaultTarget))
	}
	complete("spec.targetRef", spec["targetRef"])
	refs, _ := spec["targetRefs"].([]any)
	for i, ref := range refs {
		complete(fmt.Sprintf("spec.targetRefs[%d]", i), ref)
	}
	return changed, notes
}
