package fieldtest

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// Place is a field without fields of its own, at one place of an object.
type Place struct {
	Field Field
	// Changed are copies of the object in which only this field is missing, or has another value.
	// Without are copies without the field around it, then without the one around that, and so on. The last one is nil,
	// which stands for no object at all. Some copies are not valid.
	Changed, Without []map[string]any
}

// Places yields those of the spec of an object.
func Places(object map[string]any, fields []Field) iter.Seq[Place] {
	known := map[string]Field{}
	for _, f := range fields {
		if f.Leaf(fields) {
			known[f.Path] = f
		}
	}
	return func(yield func(Place) bool) {
		walk("spec", object["spec"], nil, func(path string, around []holder) bool {
			field, ok := known[path]
			if !ok {
				return true
			}
			place, at := Place{Field: field}, around[len(around)-1]
			changed := func(h holder, set func()) map[string]any {
				was := h.object[h.name]
				defer func() { h.object[h.name] = was }()
				set()
				return runtime.DeepCopyJSON(object)
			}
			place.Changed = append(place.Changed, changed(at, at.remove))
			for _, value := range others(at.object[at.name], field) {
				place.Changed = append(place.Changed, changed(at, func() { at.object[at.name] = value }))
			}
			for _, outer := range slices.Backward(around[:len(around)-1]) {
				place.Without = append(place.Without, changed(outer, outer.remove))
			}
			place.Without = append(place.Without, nil)
			return yield(place)
		})
	}
}

// holder is a field, with the object that it is in.
type holder struct {
	object map[string]any
	name   string
}

func (h holder) remove() { delete(h.object, h.name) }

// Leaf reports whether the field has no fields of its own.
func (f Field) Leaf(fields []Field) bool {
	return !slices.ContainsFunc(fields, func(other Field) bool {
		return strings.HasPrefix(other.Path, f.Path+".") || strings.HasPrefix(other.Path, f.Path+"[].")
	})
}

// walk visits the fields of a value in order, each with the fields around it and itself as the last. It reports whether the
// visits went on to the end.
func walk(path string, value any, around []holder, visit func(path string, around []holder) bool) bool {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			at, with := path+"."+name, append(slices.Clip(around), holder{value, name})
			if !visit(at, with) || !walk(at, value[name], with, visit) {
				return false
			}
		}
	case []any:
		for _, item := range value {
			if !walk(path+"[]", item, around, visit) {
				return false
			}
		}
	}
	return true
}

// others are other values for a field: of an enumeration its other values, of a list that with another first item.
func others(value any, f Field) (values []any) {
	schema := f.Schema
	if schema.Items != nil {
		schema = schema.Items.Schema
	}
	if list, ok := value.([]any); ok && len(list) > 0 {
		for _, item := range others(list[0], f) {
			values = append(values, append([]any{item}, list[1:]...))
		}
		return values
	}
	for _, choice := range schema.Enum {
		if text := strings.Trim(string(choice.Raw), `"`); text != value {
			values = append(values, text)
		}
	}
	switch value := value.(type) {
	case bool:
		return append(values, !value)
	case float64:
		return append(values, value+1, value-1)
	case int64:
		return append(values, value+1, value-1)
	case string:
		return append(values, value+"x", "1"+value, value+"0")
	}
	return values
}

// Read decodes an object as the API server does, which knows integers from other numbers.
func Read(text []byte) (object map[string]any, err error) {
	encoded, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	return object, json.Unmarshal(encoded, &object)
}
