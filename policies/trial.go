package policies

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// Which fields have no effect where they stand is found out by trying (decision 065).

// effects encode what fields do: in the place at hand, and in another one where they are useful.
type effects struct{ here, elsewhere string }

// idle lists the fields of a tree that do something elsewhere but nothing here. It tries the tree without each field. If
// a field as a whole does nothing here, its parts are not listed.
func idle(tree map[string]any, does func(map[string]any) effects) []string {
	whole := does(tree)
	var idle []string
	var try func(path string, fields map[string]any)
	try = func(path string, fields map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			value := fields[name]
			delete(fields, name)
			without := does(tree)
			fields[name] = value
			parts, _ := value.(map[string]any)
			switch {
			case without.here != whole.here:
				try(path+name+".", parts)
			case without.elsewhere != whole.elsewhere:
				idle = append(idle, path+name)
			}
		}
	}
	try("", tree)
	return idle
}

// decoded returns an object as a tree, encoded the object of a tree that was one.
func decoded(object any) (tree map[string]any) {
	text, err := json.Marshal(object)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		err = decoder.Decode(&tree)
	}
	if err != nil {
		panic("decoding what was encoded: " + err.Error())
	}
	return tree
}

func encoded(tree map[string]any, object any) {
	text, err := json.Marshal(tree)
	if err == nil {
		err = json.Unmarshal(text, object)
	}
	if err != nil {
		panic("encoding what was decoded: " + err.Error())
	}
}
