package rules

import (
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"
)

// step is a field of a path; if list is set, the path continues in every item of the list.
type step struct {
	field string
	list  bool
}

type steps []step

// place is a value that a path leads to.
type place struct {
	item    any
	path    string
	indexes []int64
}

// index is the place's index in the innermost list.
func (p place) index() int64 {
	if len(p.indexes) == 0 {
		return 0
	}
	return p.indexes[len(p.indexes)-1]
}

// field is the path of a field below the place.
func (p place) field(below string) string {
	return strings.Trim(p.path+"."+below, ".")
}

var fieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// parseEach parses the paths of a rule. A rule without paths is about the object itself, which is the empty path.
func parseEach(each []string) ([]steps, error) {
	if len(each) == 0 {
		return []steps{nil}, nil
	}
	paths := make([]steps, len(each))
	for i, path := range each {
		var err error
		if paths[i], err = parseSteps(path); err != nil {
			return nil, fmt.Errorf("each[%d]: %w", i, err)
		}
	}
	return paths, nil
}

// parseSteps parses a path such as spec.rules[*].filters[*].
func parseSteps(each string) (steps, error) {
	var s steps
	for part := range strings.SplitSeq(each, ".") {
		field, list := strings.CutSuffix(part, "[*]")
		if !fieldName.MatchString(field) {
			return nil, fmt.Errorf("%q in %q is not a field: write a path such as spec.listeners[*]", part, each)
		}
		s = append(s, step{field: field, list: list})
	}
	return s, nil
}

// places yields every value that the path leads to. It ignores values that are absent or do not have the form of the
// path, because the schema checks forms. A path without steps leads to the object itself.
func (s steps) places(self map[string]any) iter.Seq[place] {
	return func(yield func(place) bool) {
		s.walk(place{item: self}, yield)
	}
}

func (s steps) walk(at place, yield func(place) bool) bool {
	if len(s) == 0 {
		return yield(at)
	}
	object, ok := at.item.(map[string]any)
	if !ok {
		return true
	}
	value, ok := object[s[0].field]
	if !ok {
		return true
	}
	next := place{item: value, path: at.field(s[0].field), indexes: at.indexes}
	if !s[0].list {
		return s[1:].walk(next, yield)
	}
	list, ok := value.([]any)
	if !ok {
		return true
	}
	for i, item := range list {
		// Each place has its own indexes, because the receiver may keep them.
		indexes := append(append(make([]int64, 0, len(at.indexes)+1), at.indexes...), int64(i))
		there := place{item: item, path: next.path + "[" + strconv.Itoa(i) + "]", indexes: indexes}
		if !s[1:].walk(there, yield) {
			return false
		}
	}
	return true
}
