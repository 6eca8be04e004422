package fieldtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Effects are the changes of Envoy's configuration by the path of the field that makes them.
type Effects map[string]Effect

// Effect is what one field changes in one example.
type Effect struct {
	// Example is the path of the golden, from docs/fields.
	Example string
	// Settings are the names of what differs: a message of Envoy with the path of a field in it, or Warning.
	Settings []string
}

// Warning is the name of the tree with what a user is told.
const Warning = "warning"

// add remembers what a field changes in an example, unless an example that shows it better is known: with fewer changes, and
// not only a warning.
func (e Effects) add(path, example string, settings []string) {
	if len(settings) == 0 {
		return
	}
	known, ok := e[path]
	if ok && known.Settings[0] != Warning && (settings[0] == Warning || len(settings) >= len(known.Settings)) {
		return
	}
	e[path] = Effect{example, settings}
}

// Find adds what each field of an object changes in an example. Result says what an object makes of Envoy's configuration,
// or nil if it is not served: trees of JSON by the names of Envoy's messages, or by such a name, a space, and what tells
// several messages apart. A nil object is none at all. A field that can have no other value, such as the type of a union,
// changes what the field around it changes.
func (e Effects) Find(object map[string]any, fields []Field, example string, result func(map[string]any) map[string]any) {
	base := result(runtime.DeepCopyJSON(object))
	if base == nil {
		return
	}
	change := func(objects []map[string]any) (settings []string, served int) {
		for _, changed := range objects {
			if other := result(changed); other != nil {
				served++
				if settings = difference(base, other); len(settings) > 0 {
					return settings, served
				}
			}
		}
		return nil, served
	}
	for place := range Places(object, fields) {
		settings, _ := change(place.Changed[:1])
		if len(settings) == 0 {
			var served int
			if settings, served = change(place.Changed[1:]); served == 0 {
				settings, _ = change(place.Without)
			}
		}
		e.add(place.Field.Path, example, settings)
	}
}

// difference names the settings in which two results differ, sorted. What is missing on one side is named as a whole.
func difference(a, b map[string]any) []string {
	found := map[string]bool{}
	for tree := range union(a, b) {
		name, several, _ := strings.Cut(tree, " ")
		treeA, treeB := a[tree], b[tree]
		if several == "" { // The message is always there, and was only left out because it is empty.
			treeA, treeB = orEmpty(treeA), orEmpty(treeB)
		}
		if differ(name, treeA, treeB, found); len(found) == 0 && (a[tree] == nil) != (b[tree] == nil) {
			found[name] = true // An empty message, which sets what is false by default.
		}
	}
	if len(found) > 1 {
		delete(found, Warning)
	}
	return slices.Sorted(maps.Keys(found))
}

func orEmpty(tree any) any {
	if tree == nil {
		return map[string]any{}
	}
	return tree
}

func differ(at string, a, b any, found map[string]bool) {
	if name := messageOf(a, b); name != "" {
		at = name
	}
	objectA, okA := object(a, b)
	objectB, okB := object(b, a)
	if okA && okB {
		for name := range union(objectA, objectB) {
			if name != typeField {
				differ(at+"."+name, objectA[name], objectB[name], found)
			}
		}
		return
	}
	listA, okA := a.([]any)
	listB, okB := b.([]any)
	if okA && okB && len(listA) == len(listB) {
		for i := range listA {
			differ(at+"[]", listA[i], listB[i], found)
		}
		return
	}
	if fmt.Sprint(a) != fmt.Sprint(b) {
		found[at] = true
	}
}

// object is a value as an object, if it is one. Nothing counts as an empty object beside one with a single field, so that
// this field is named.
func object(value, beside any) (map[string]any, bool) {
	if other, ok := beside.(map[string]any); ok && value == nil && len(other) == 1 {
		return nil, true
	}
	known, ok := value.(map[string]any)
	return known, ok
}

const typeField = "@type"

// messageOf is the name of the message that one of the two is, without its package, or "".
func messageOf(values ...any) string {
	for _, value := range values {
		if object, ok := value.(map[string]any); ok {
			if name, ok := object[typeField].(string); ok {
				return name[strings.LastIndexByte(name, '.')+1:]
			}
		}
	}
	return ""
}

func union(a, b map[string]any) map[string]bool {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	return names
}
