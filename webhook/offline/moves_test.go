package offline

import (
	"fmt"
	"testing"
)

// TestMoves: a field of a mutated object is found where it was before, also if entries were put in front of it, between
// or removed; what was not there is found at what was around it.
func TestMoves(t *testing.T) {
	named := func(names ...string) map[string]any {
		var entries []any
		for _, name := range names {
			entries = append(entries, map[string]any{"name": name})
		}
		return map[string]any{"spec": map[string]any{"rules": entries}}
	}
	extended := named("new", "a", "b")
	for _, entry := range extended["spec"].(map[string]any)["rules"].([]any) {
		entry.(map[string]any)["timeout"] = "10s"
	}
	changed := named("a", "other")
	for _, test := range []struct {
		about         string
		before, after map[string]any
		want          map[string]string
	}{
		{"in front", named("a", "b"), named("new", "a", "b"), map[string]string{
			"spec.rules[0].name": "spec.rules", "spec.rules[1].name": "spec.rules[0].name", "spec.rules[2]": "spec.rules[1]",
		}},
		{"in front and extended", named("a", "b"), extended, map[string]string{
			"spec.rules[1].timeout": "spec.rules[0].timeout", "spec.rules[2].name": "spec.rules[1].name",
		}},
		{"between", named("a", "b"), named("a", "new", "b"), map[string]string{"spec.rules[2].name": "spec.rules[1].name"}},
		{"at the end", named("a"), named("a", "new"), map[string]string{"spec.rules[0].name": "spec.rules[0].name", "spec.rules[1].name": "spec.rules"}},
		{"removed", named("a", "b", "c"), named("b", "c"), map[string]string{"spec.rules[0].name": "spec.rules[1].name", "spec.rules": "spec.rules"}},
		{"changed where it is", named("a", "b"), changed, map[string]string{"spec.rules[1].name": "spec.rules[1].name", "metadata.labels[a.b]": "metadata.labels[a.b]"}},
	} {
		m := movesBetween(test.before, test.after)
		for field, want := range test.want {
			if got := fmt.Sprint(steps(m.origin(field))); got != fmt.Sprint(steps(want)) {
				t.Errorf("%s: %s was %s, want %s", test.about, field, got, want)
			}
		}
	}
}
