package v1alpha1

import (
	_ "embed"
	"fmt"
	"maps"
	"strings"
	"sync"
)

//go:embed envoygateway.txt
var envoyGateway string

// objectFields are the fields of an object, each with the name of its object type, which is empty if the field is not
// an object.
type objectFields map[string]string

// knownFields are the fields that Envoy Gateway knows, by the name of the object type; specs have the name of their
// kind.
var knownFields = sync.OnceValue(func() map[string]objectFields { return parseFields(envoyGateway) })

// parseFields parses the list in the form that envoygateway.txt describes. It panics on another form, which is a
// programming error.
func parseFields(list string) map[string]objectFields {
	objects, taken := map[string]objectFields{}, map[string][]string{}
	name := ""
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if line[0] != ' ' {
			name = strings.TrimSuffix(words[0], ":")
			if objects[name] != nil || name == words[0] {
				panic(fmt.Sprintf("fields of Envoy Gateway: %q does not begin an object", strings.TrimSpace(line)))
			}
			objects[name], words = objectFields{}, words[1:]
		}
		for _, word := range words {
			if other, ok := strings.CutPrefix(word, "+"); ok {
				taken[name] = append(taken[name], other)
				continue
			}
			field, object, _ := strings.Cut(word, ":")
			objects[name][field] = object
		}
	}
	for name, others := range taken {
		for _, other := range others {
			maps.Copy(objects[name], taking(objects, taken, other))
		}
	}
	return objects
}

// taking returns the fields of an object type and of the types that it embeds.
func taking(objects map[string]objectFields, taken map[string][]string, name string) objectFields {
	if objects[name] == nil {
		panic(fmt.Sprintf("fields of Envoy Gateway: there is no object %q", name))
	}
	all := maps.Clone(objects[name])
	for _, other := range taken[name] {
		maps.Copy(all, taking(objects, taken, other))
	}
	return all
}
