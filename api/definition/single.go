package definition

import (
	"fmt"
	"slices"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// Single removes entries of lists that have the keys of an earlier entry, where each key may be there only once
// (x-kubernetes-list-type: map). Validate reports such entries, and no object that is stored has them.
func (k *Kind) Single(object map[string]any) { single(object, k.Schema) }

func single(value any, s *structuralschema.Structural) any {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if property, ok := s.Properties[name]; ok {
				v[name] = single(inner, &property)
			}
		}
	case []any:
		if s.Items == nil {
			return v
		}
		for i := range v {
			v[i] = single(v[i], s.Items)
		}
		if s.XListType != nil && *s.XListType == "map" {
			return firsts(v, s.XListMapKeys)
		}
	}
	return value
}

// firsts are the entries of a list whose keys no earlier entry has.
func firsts(list []any, keys []string) []any {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(entry any) bool {
		fields, ok := entry.(map[string]any)
		if !ok {
			return false
		}
		values := make([]any, len(keys))
		for i, key := range keys {
			values[i] = fields[key]
		}
		text := fmt.Sprintf("%#v", values)
		twice := seen[text]
		seen[text] = true
		return twice
	})
}
