// Package merge merges JSON objects: patches into objects of Kubernetes, and policies over less specific ones. It knows
// two ways to do so, and from which object each field of a result comes.
package merge

import (
	stdjson "encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"gatehouse/api/v1alpha1"
)

// JSON returns a document with changes merged into it. Both are JSON objects.
//
// JSONMerge is RFC 7386: objects are merged field by field, null removes a field, and everything else replaces what was
// there, lists included. StrategicMerge does the same, except for the lists that the Go type of the document tags with
// a patchStrategy (Kubernetes, "Use a Strategic Merge Patch"); of is a value of this type. It returns an error if the
// type has no field of a name in the changes.
func JSON(how v1alpha1.MergeType, document, changes []byte, of any) ([]byte, error) {
	switch how {
	case v1alpha1.StrategicMerge:
		return applyStrategic(document, changes, of)
	case v1alpha1.JSONMerge:
		return applyJSON(document, changes)
	}
	return nil, fmt.Errorf("there is no type %q of patch", how)
}

func applyStrategic(document, changes []byte, of any) (merged []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // The library panics if the key of an item is a list or an object.
			merged, err = nil, fmt.Errorf("merging: %v", p)
		}
	}()
	merged, err = strategicpatch.StrategicMergePatch(document, changes, of)
	if err != nil {
		return nil, fmt.Errorf("merging: %w", err)
	}
	return merged, nil
}

func applyJSON(document, changes []byte) ([]byte, error) {
	target, err := decode(document)
	if err != nil {
		return nil, err
	}
	patch, err := decode(changes)
	if err != nil {
		return nil, err
	}
	merged, err := stdjson.Marshal(mergeJSON(target, patch))
	if err != nil {
		return nil, fmt.Errorf("encoding the merged object: %w", err)
	}
	return merged, nil
}

// decode reads an object.
func decode(text []byte) (map[string]any, error) {
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("decoding an object: %w", err)
	}
	if object == nil {
		return nil, errors.New("decoding an object: it is null")
	}
	return object, nil
}

// mergeJSON is the algorithm of RFC 7386 section 2. It may modify target.
func mergeJSON(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	fields, ok := target.(map[string]any)
	if !ok {
		fields = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(fields, name)
			continue
		}
		fields[name] = mergeJSON(fields[name], value)
	}
	return fields
}
