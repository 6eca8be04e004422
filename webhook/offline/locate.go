package offline

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// locate finds the value of a field in a document, or the innermost value on the way to it. The path has the form of
// problems: names with dots between them, indexes of lists and names with dots in brackets.
func locate(node *yaml.Node, path string) *yaml.Node {
	at := node
	for _, step := range steps(path) {
		next := child(resolved(at), step)
		if next == nil {
			break
		}
		at = next
	}
	return at
}

// steps splits a path: spec.rules[0].name has the steps spec, rules, 0 and name.
func steps(path string) []string {
	var all []string
	for path != "" {
		if inner, found := strings.CutPrefix(path, "["); found {
			step, rest, _ := strings.Cut(inner, "]")
			all, path = append(all, step), rest
			continue
		}
		path = strings.TrimPrefix(path, ".")
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		if end > 0 {
			all = append(all, path[:end])
		}
		path = path[end:]
	}
	return all
}

// child is nil if there is none.
func child(node *yaml.Node, step string) *yaml.Node {
	switch node.Kind {
	case yaml.MappingNode:
		for pair := range slices.Chunk(node.Content, 2) {
			if len(pair) == 2 && pair[0].Value == step {
				return pair[1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i]
		}
	}
	return nil
}

// resolved follows an alias to its anchor.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode && node.Alias != nil {
		return node.Alias
	}
	return node
}
