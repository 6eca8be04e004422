package admissionrule

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gatehouse/policies/verdict"
)

// Change is what the mutations of a rule change in an object. It has at least one edit.
type Change struct {
	Rule string
	// Stored reports whether the object as it is stored has all of it already, so that its author knows of it.
	Stored bool
	edits  []edit
}

// edit is one field that is changed, with all below it.
type edit struct {
	path []string
	// field is the path as users read it.
	field string
	value any
	gone  bool
}

const reasonMutated = "RuleMutated"

// Made is the change as the author of the object is told of it.
func (c *Change) Made() verdict.Problem {
	return c.problem(fmt.Sprintf("rule %s has %s%s: write the same if the manifest shall show what is stored",
		c.Rule, c.edits[0].words("set this to", "removed this"), c.others()))
}

// Undone is the change as one that the object should have, and has not.
func (c *Change) Undone() verdict.Problem {
	return c.problem(fmt.Sprintf("rule %s %s%s, and the object does not show it: apply the object again, or look for a webhook that changes it",
		c.Rule, c.edits[0].words("sets this to", "removes this"), c.others()))
}

// spared is the change as one that an object is excepted from.
func (c *Change) spared() verdict.Problem {
	return c.problem(fmt.Sprintf("it does not %s%s", c.edits[0].words("set this to", "remove this"), c.others()))
}

func (c *Change) problem(message string) verdict.Problem {
	return verdict.Problem{Field: c.edits[0].field, Reason: reasonMutated, Weight: verdict.Unresolved, Message: message}
}

// has reports whether an object shows the edit already.
func (e *edit) has(object map[string]any) bool {
	var at any = object
	for _, step := range e.path {
		var next any
		var there bool
		switch in := at.(type) {
		case map[string]any:
			next, there = in[step]
		case []any:
			if i, err := strconv.Atoi(strings.Trim(step, "[]")); err == nil && i < len(in) {
				next, there = in[i], true
			}
		}
		if !there {
			return e.gone
		}
		at = next
	}
	return !e.gone && reflect.DeepEqual(at, e.value)
}

// others lists the other fields.
func (c *Change) others() string {
	const most = 3
	rest := c.edits[1:]
	var names []string
	for i, e := range rest {
		if i == most {
			names = append(names, fmt.Sprintf("%d more", len(rest)-i))
			break
		}
		names = append(names, e.field)
	}
	if len(names) == 0 {
		return ""
	}
	return " (also " + strings.Join(names, ", ") + ")"
}

func (e *edit) words(set, removed string) string {
	const most = 60
	if e.gone {
		return removed
	}
	text, _ := json.Marshal(e.value) // It was decoded from JSON.
	if shown := []rune(string(text)); len(shown) > most {
		return set + " " + string(shown[:most]) + "…"
	}
	return set + " " + string(text)
}

// edits are the differences between two objects, in the order of their paths.
func edits(before, after map[string]any) []edit {
	return differences(nil, before, after)
}

func differences(path []string, before, after any) (all []edit) {
	switch then := before.(type) {
	case map[string]any:
		if now, ok := after.(map[string]any); ok {
			return differencesOfMaps(path, then, now)
		}
	case []any:
		if now, ok := after.([]any); ok {
			return differencesOfLists(path, then, now)
		}
	}
	if reflect.DeepEqual(before, after) {
		return nil
	}
	return []edit{{path: path, field: fieldOf(path), value: after}}
}

func differencesOfMaps(path []string, before, after map[string]any) (all []edit) {
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		at := append(slices.Clone(path), name)
		then, was := before[name]
		now, is := after[name]
		switch {
		case was && is:
			all = append(all, differences(at, then, now)...)
		default:
			all = append(all, edit{path: at, field: fieldOf(at), value: now, gone: !is})
		}
	}
	return all
}

func differencesOfLists(path []string, before, after []any) (all []edit) {
	entry := func(i int) edit {
		at := append(slices.Clone(path), fmt.Sprintf("[%d]", i))
		return edit{path: at, field: fieldOf(at)}
	}
	kept := map[int]bool{}
	for i, was := range Align(before, after) {
		e := entry(i)
		if was < 0 {
			e.value = after[i]
			all = append(all, e)
			continue
		}
		kept[was] = true
		all = append(all, differences(e.path, before[was], after[i])...)
	}
	for i := range before {
		if e := entry(i); !kept[i] {
			e.gone = true
			all = append(all, e)
		}
	}
	return all
}

// fieldOf is a path in the form of problems. Names with dots are in brackets, as indexes are.
func fieldOf(path []string) string {
	var b strings.Builder
	for _, step := range path {
		switch {
		case strings.HasPrefix(step, "["):
			b.WriteString(step)
		case strings.ContainsAny(step, "./["):
			b.WriteString("[" + step + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}
