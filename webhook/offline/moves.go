package offline

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"

	"gatehouse/policies/admissionrule"
)

// moves say where the entries of lists were before an object was mutated, by the path of the list after it, as keyOf
// writes it: the index of each entry before, or -1 for an entry that was not there. Lists that are not in it have all
// their entries where they were.
type moves map[string][]int

func keyOf(steps []string) string { return strings.Join(steps, "\x00") }

// movesBetween compares an object before and after a mutation.
func movesBetween(before, after map[string]any) moves {
	m := moves{}
	m.compare(nil, before, after)
	return m
}

func (m moves) compare(path []string, before, after any) {
	if equality.Semantic.DeepEqual(before, after) {
		return
	}
	at := func(step string) []string { return append(path[:len(path):len(path)], step) }
	switch after := after.(type) {
	case map[string]any:
		before, _ := before.(map[string]any)
		for name, value := range after {
			m.compare(at(name), before[name], value)
		}
	case []any:
		before, _ := before.([]any)
		origin := admissionrule.Align(before, after)
		if len(before) != len(after) {
			m[keyOf(path)] = origin
		}
		for i, was := range origin {
			if was >= 0 {
				m.compare(at(strconv.Itoa(i)), before[was], after[i])
			}
		}
	}
}

// origin is where a field of the object was before the mutation, or what was around it.
func (m moves) origin(path string) string {
	if len(m) == 0 {
		return path
	}
	now := steps(path)
	var then strings.Builder
	for i, step := range now {
		if origin, moved := m[keyOf(now[:i])]; moved {
			index, err := strconv.Atoi(step)
			if err != nil || index < 0 || index >= len(origin) || origin[index] < 0 {
				break
			}
			step = strconv.Itoa(origin[index])
		}
		then.WriteString("[" + step + "]")
	}
	return then.String()
}
