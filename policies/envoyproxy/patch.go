package envoyproxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/merge"
	"gatehouse/policies/verdict"
)

// Patch returns a copy of an object with a patch applied. A nil patch changes nothing. It returns an error if the patch
// is not an object, is empty, or contains fields that the kind T does not have.
func Patch[T any](object T, patch *v1alpha1.KubernetesPatchSpec) (T, error) {
	if patch == nil {
		return object, nil
	}
	var none T
	if _, err := decodePatch(patch); err != nil {
		return none, err
	}
	original, err := json.Marshal(object)
	if err != nil {
		return none, fmt.Errorf("encoding the object: %w", err)
	}
	how := v1alpha1.StrategicMerge
	if patch.Type != nil {
		how = *patch.Type
	}
	patched, err := merge.JSON(how, original, patch.Value.Raw, object)
	if err != nil {
		return none, err
	}
	var result T
	unknown, err := kjson.UnmarshalStrict(patched, &result)
	if err != nil {
		return none, fmt.Errorf("the patched object is broken: %w", err)
	}
	if len(unknown) > 0 {
		return none, fmt.Errorf("the patched object is broken: %w", errors.Join(unknown...))
	}
	return result, nil
}

// decodePatch returns the patch's value as an object.
func decodePatch(patch *v1alpha1.KubernetesPatchSpec) (map[string]any, error) {
	var changes map[string]any
	if err := json.Unmarshal(patch.Value.Raw, &changes); err != nil {
		return nil, fmt.Errorf("the value is not an object: %w", err)
	}
	if len(changes) == 0 {
		return nil, errors.New("the value is empty")
	}
	return changes, nil
}

// fixedFields are fields that a patch cannot change, because they identify the object. The value says what to do
// instead.
var fixedFields = []struct{ path, wayOut string }{
	{"apiVersion", "remove it"},
	{"kind", "remove it"},
	{"metadata.name", "use the field name beside patch"},
	{"metadata.namespace", "remove it"},
	{"spec.selector", "remove it: the pods are found by it"},
	{"status", "remove it: it is not part of what is asked for"},
}

// checkPatch reports patches that cannot be applied to an object of the kind.
func checkPatch[T any](field string, patch *v1alpha1.KubernetesPatchSpec, empty T) []verdict.Problem {
	if patch == nil {
		return nil
	}
	changes, err := decodePatch(patch)
	if err != nil {
		return []verdict.Problem{feature.Invalid(field+".value",
			"%s: write the part of the object that is to change, or leave the patch out", err)}
	}
	var problems []verdict.Problem
	for _, fixed := range fixedFields {
		if value, found := lookup(changes, strings.Split(fixed.path, ".")); found {
			problems = append(problems, feature.Invalid(field+".value."+fixed.path, "a patch cannot set it to %v: %s", value,
				fixed.wayOut))
		}
	}
	for _, labels := range []string{"metadata.labels", "spec.template.metadata.labels"} {
		for _, label := range ownLabels {
			if value, found := lookup(changes, append(strings.Split(labels, "."), label)); found {
				problems = append(problems, feature.Invalid(field+".value."+labels+"["+label+"]",
					"a patch cannot set it to %v: remove it, since the fleet's objects are found by it", value))
			}
		}
	}
	if _, err := Patch(empty, patch); err != nil {
		problems = append(problems, feature.Invalid(field+".value",
			"the patch cannot be applied: %s: correct the field or remove it", oneLine(err)))
	}
	return problems
}

func lookup(object map[string]any, path []string) (any, bool) {
	value, found := object[path[0]]
	if !found || len(path) == 1 {
		return value, found
	}
	inner, ok := value.(map[string]any)
	if !ok {
		return nil, false
	}
	return lookup(inner, path[1:])
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", ", ") }
