package rules

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/policies/verdict"
)

const head = `
name: r
about: Rooms have doors.
kinds: [{group: example.com, kind: Room, resource: rooms}]
`

// TestNewRefuses checks that a broken rule is an error with the file, the field, the value and how to fix it.
func TestNewRefuses(t *testing.T) {
	tests := map[string]struct{ file, text, want string }{
		"no rule":       {"r.yaml", "[]", "rule r.yaml: the file is not one rule"},
		"unknown field": {"r.yaml", head + "severity: 3", `unknown field "severity"`},
		"name of file": {
			"s.yaml", head + "validations: [{expression: 'true', message: m, reason: R, weight: Invalid}]",
			`name: "r" is not the name of the file: name the file r.yaml`,
		},
		"name":     {"r.yaml", "name: R r", `name: "R r" is not a name`},
		"no about": {"r.yaml", "name: r", "about: missing"},
		"no kinds": {"r.yaml", "name: r\nabout: a", "kinds: missing"},
		"no kind": {
			"r.yaml", "name: r\nabout: a\nkinds: [{group: g}]\nvalidations: [{expression: 'true'}]",
			"kinds[0].kind: missing",
		},
		"no resource": {
			"r.yaml", "name: r\nabout: a\nkinds: [{group: g, kind: Room}]\nvalidations: [{expression: 'true'}]",
			"kinds[0].resource: missing",
		},
		"no validations": {"r.yaml", head, "validations: missing"},
		"variable's name": {"r.yaml", head +
			"variables: [{name: A b, expression: '1'}]\nvalidations: [{expression: 'true', message: m, reason: R, weight: Invalid}]", `variables[0].name: "A b" is not a name`},
		"variable": {"r.yaml", head +
			"variables: [{name: a, expression: '1 +'}]\nvalidations: [{expression: 'true', message: m, reason: R, weight: Invalid}]", "variables[0].expression"},
		"no message": {
			"r.yaml", head + "validations: [{expression: 'true', reason: R, weight: Invalid}]",
			"validations[0].message: missing",
		},
		"no reason": {
			"r.yaml", head + "validations: [{expression: 'true', message: m, weight: Invalid}]",
			"validations[0].reason: missing",
		},
		"weight": {
			"r.yaml", head + "validations: [{expression: 'true', message: m, reason: R, weight: Bad}]",
			`validations[0].weight: "Bad" is not a weight: write Invalid, Unresolved or Conflicted`,
		},
		"expression": {
			"r.yaml", head +
				"validations: [{expression: 'slef.spec', message: m, reason: R, weight: Invalid}]",
			`validations[0].expression: "slef.spec" does not compile`,
		},
		"expression's type": {
			"r.yaml", head + "validations: [{expression: '1', message: m, reason: R, weight: Invalid}]",
			`validations[0].expression: "1" is of type int: write an expression of type bool`,
		},
		"messageExpression": {
			"r.yaml", head +
				"validations: [{expression: 'true', messageExpression: '1', reason: R, weight: Invalid}]",
			"validations[0].messageExpression",
		},
		"scope": {"r.yaml", head +
			"validations: [{expression: 'true', message: m, scope: 'a b', reason: R, weight: Invalid}]", "validations[0].scope"},
		"each": {
			"r.yaml", head +
				"each: ['spec.a[0]']\nvalidations: [{expression: 'true', message: m, reason: R, weight: Invalid}]",
			`each[0]: "a[0]" in "spec.a[0]" is not a field: write a path such as spec.listeners[*]`,
		},
		"library not in CEL": {"r.yaml", head +
			"validations: [{expression: 'now() > 0', message: m, reason: R, weight: Invalid}]", "undeclared reference to 'now'"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(fstest.MapFS{tt.file: {Data: []byte(tt.text)}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func room(spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec, "status": map[string]any{"secret": true}}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v7", Kind: "Room"})
	return u
}

func one(t *testing.T, text string) *Engine {
	t.Helper()
	e, err := New(fstest.MapFS{"r.yaml": {Data: []byte(head + text)}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEach checks that every item is checked wherever it is nested, and identified by the indexes of its path.
func TestEach(t *testing.T) {
	e := one(t, `
each: ['spec.walls[*].doors[*]', 'spec.hatch']
variables:
- {name: twice, expression: 'item.width * 2'}
- {name: words, expression: "string(variables.twice) + ' of wall ' + self.spec.walls[indexes[0]].side"}
validations:
- expression: variables.twice > 3
  fieldPath: width
  message: too narrow; make it wider
  messageExpression: "variables.words + ' at ' + string(index)"
  scope: index
  reason: Narrow
  weight: Conflicted
`)
	width := func(w int64) map[string]any { return map[string]any{"width": w} }
	got := e.Check(room(map[string]any{
		"walls": []any{
			map[string]any{"side": "north", "doors": []any{width(2), width(1)}},
			map[string]any{"side": "east"},
			map[string]any{"side": "south", "doors": []any{width(0)}},
		},
		"hatch": width(1),
	}))
	narrow := func(field, message, scope string) verdict.Problem {
		return verdict.Problem{Field: field, Message: message, Scope: scope, Reason: "Narrow", Weight: verdict.Conflicted}
	}
	want := []verdict.Problem{
		narrow("spec.walls[0].doors[1].width", "2 of wall north at 1", "1"),
		narrow("spec.walls[2].doors[0].width", "0 of wall south at 0", "0"),
		narrow("spec.hatch.width", "too narrow; make it wider", "0"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Check() (-want +got):\n%s", diff)
	}
}

// TestUnjudged checks that an object violates a rule whose evaluation fails or costs too much.
func TestUnjudged(t *testing.T) {
	big := make([]any, 3000)
	for i := range big {
		big[i] = int64(i)
	}
	tests := map[string]struct {
		rule string
		spec map[string]any
		want string
	}{
		"no such key": {
			"validations: [{expression: self.spec.door == 1, message: m, reason: R, weight: Unresolved}]",
			map[string]any{},
			"no such key: door",
		},
		"status is not seen": {
			"validations: [{expression: self.status.secret == true, message: m, reason: R, weight: Unresolved}]",
			map[string]any{},
			"no such key: status",
		},
		"variable fails": {
			"variables: [{name: a, expression: self.spec.door}]\nvalidations: [{expression: variables.a == 1, message: m, reason: R, weight: Unresolved}]",
			map[string]any{},
			"variable a: no such key: door",
		},
		"cost of one expression": {
			"validations: [{expression: 'self.spec.l.all(a, self.spec.l.all(b, a < 0 || b >= 0))', message: m, reason: R, weight: Unresolved}]",
			map[string]any{"l": big},
			"cost limit exceeded",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			problems := one(t, tt.rule).Check(room(tt.spec))
			if len(problems) == 0 {
				t.Fatal("no problem")
			}
			last := problems[len(problems)-1]
			if last.Weight != verdict.Invalid || !strings.Contains(last.Message, tt.want) ||
				!strings.Contains(last.Message, "rule r cannot judge this") {
				t.Errorf("Check() = %v, want an Invalid problem with %q", last, tt.want)
			}
		})
	}
}

// TestBudget checks that all rules together cannot spend more than one budget on an object.
func TestBudget(t *testing.T) {
	e := one(t, "each: ['spec.l[*]']\nvalidations: [{expression: item > 0, message: m, reason: R, weight: Unresolved}]")
	r := e.rules[schema.GroupKind{Group: "example.com", Kind: "Room"}][0]
	self := map[string]any{"spec": map[string]any{"l": []any{int64(1), int64(1), int64(1)}}}
	problems := r.check(self, &budget{left: 3})
	if len(problems) != 1 || problems[0].Field != "spec.l[2]" ||
		!strings.Contains(problems[0].Message, errBudget.Error()) {
		t.Errorf("check() = %v, want only the last item over the budget", problems)
	}
}

// FuzzCheck checks that no object that fits its Go type makes the built-in rules fail, and that the same object always
// gets the same answer.
func FuzzCheck(f *testing.F) {
	e := engine(f)
	for _, seed := range seeds(f) {
		json, err := seed.MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(json)
	}
	f.Fuzz(func(t *testing.T, json []byte) {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(json); err != nil {
			t.Skip()
		}
		if diff := cmp.Diff(e.Check(u), e.Check(u)); diff != "" {
			t.Errorf("two answers to one object:\n%s", diff)
		}
		obj, err := e.kinds.New(u.GroupVersionKind())
		if err != nil || runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj) != nil {
			t.Skip()
		}
		for _, p := range e.Check(obj) {
			if strings.Contains(p.Message, "cannot judge") || p.Field == "" || p.Message == "" ||
				strings.ContainsAny(p.Message, "\r\n") {
				t.Errorf("%#v is no answer for a user", p)
			}
		}
	})
}

// BenchmarkCheck measures the cost of each change of a small object: at most 100 µs.
func BenchmarkCheck(b *testing.B) {
	e := engine(b)
	for name, u := range seeds(b) {
		obj := typed(b, e, u)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Check(obj)
			}
		})
	}
}
