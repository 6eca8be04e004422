package admissionrule

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/effective"
	"gatehouse/policies/feature"
)

var entry = &effective.Entry{Name: "http", Owner: feature.ObjectName{Kind: "Gateway", Namespace: "infra", Name: "eg"}}

// routes makes a configuration of routes: name, path, and "open" or "login".
func routes(all ...string) *effective.Configuration {
	c := &effective.Configuration{}
	index := map[string]int64{}
	for _, text := range all {
		words := strings.Fields(text)
		r := &effective.Route{
			Kind: "HTTPRoute", Namespace: "shop", Name: words[0], Rule: index[words[0]], Listener: entry,
			Matches: []effective.Match{{Path: &effective.Value{Type: "PathPrefix", Value: words[1]}}},
		}
		index[words[0]]++
		if words[2] == "login" {
			r.Authentication = &feature.Authentication{Kinds: []string{"basicAuth"}}
		}
		c.Routes = append(c.Routes, r)
	}
	return c
}

// TestWhatWasThereBeforeIsNotHeldAgainstAChange: of the routes that a change touches, those decide that violate the rule
// after it and did not do so before, whatever object is changed.
func TestWhatWasThereBeforeIsNotHeldAgainstAChange(t *testing.T) {
	names := func() string {
		return `"open: " + effective.routes.filter(r, !has(r.authentication)).map(r, r.name + r.matches[0].path.value).join(" ")`
	}
	for _, c := range []struct {
		name          string
		operation     admissionv1.Operation
		before, after *effective.Configuration
		expression    string
		// want is the message, with "before: " if the violation is not new.
		want string
	}{
		{"nothing is touched", "UPDATE", routes(), routes(), "", ""},
		{"a new route", "CREATE", routes(), routes("a / open"), "", "open: a/"},
		{"a detached policy", "DELETE", routes("a / login", "b / login"), routes("a / open", "b / open"), "", "open: a/ b/"},
		{"wrong before", "UPDATE", routes("a / open"), routes("a / open"), "", "before: open: a/"},
		{"wrong before and deleted policy", "DELETE", routes("a / open"), routes("a / open"), "", "before: open: a/"},
		{"wrong before and new policy", "CREATE", routes("a / open"), routes("a / open"), "", "before: open: a/"},
		{"one is worse", "UPDATE", routes("a / open", "b / login"), routes("a / open", "b / open"), "", "open: b/"},
		{"one is better", "UPDATE", routes("a / open", "b / open"), routes("a / open", "b / login"), "", "before: open: a/"},
		{"a rule goes before", "UPDATE", routes("a /x open"), routes("a /y login", "a /x open"), "", "before: open: a/x"},
		{"an open rule goes before", "UPDATE", routes("a /x open"), routes("a /z login", "a /y open", "a /x open"), "", "open: a/y"},
		{"an open rule goes before an open one", "UPDATE", routes("a /x open"), routes("a /y open", "a /x open"), "", "open: a/y"},
		{"an open rule is changed", "UPDATE", routes("a /x open"), routes("a /y open"), "", "before: open: a/y"},
		{"a sum", "UPDATE", routes("a / open", "b / open"), routes("a / open", "c / open", "b / open"), "effective.routes.size() < 2", "open: a/ c/ b/"},
		{"the same sum", "UPDATE", routes("a / open", "b / open"), routes("a / open", "b / open"), "effective.routes.size() < 2", "before: open: a/ b/"},
		{"by a variable", "CREATE", routes("a / open"), routes("a / open"), "variables.open == 0", "before: open: a/"},
		{"about the object too", "CREATE", routes("a / open"), routes("a / open"), "object.spec.x == 1", "open: a/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			effects, err := NewEffects(c.before, c.after)
			if err != nil {
				t.Fatal(err)
			}
			if c.expression == "" {
				c.expression = "effective.routes.all(r, has(r.authentication))"
			}
			got := judged(t, c.operation, c.expression, names(), func() (*Effects, error) { return effects, nil })
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestNobodyConcludesFromUnknownEffects: if not all is known that a change touches, a rule that reads it fails, also if
// it failed before, and one that does not read it does not care.
func TestNobodyConcludesFromUnknownEffects(t *testing.T) {
	cut := &effective.Configuration{Cut: true}
	if _, err := NewEffects(cut, cut); err == nil || !strings.Contains(err.Error(), "only the first 0 of their rules") {
		t.Errorf("effects that are cut: %v", err)
	}
	unknown := func() (*Effects, error) { return nil, errors.New("no time left") }
	want := "the rule cannot be evaluated: no time left: try again, or ask its owner"
	if got := judged(t, "UPDATE", "effective.routes.all(r, r.closed)", "''", unknown); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := judged(t, "UPDATE", "object.spec.x == 0 || effective.cut", "''", unknown); got != "" {
		t.Errorf("got %q of a rule that did not have to read effective", got)
	}
}

// judged evaluates a rule for an object whose spec.x is 0, and returns the message of the only finding.
func judged(t *testing.T, operation admissionv1.Operation, expression, message string,
	effects func() (*Effects, error),
) string {
	t.Helper()
	source := anyRule(expression, message)
	source.Spec.Variables = []rulesv1alpha1.Variable{
		{Name: "all", Expression: "effective.routes"}, {Name: "open", Expression: "variables.all.filter(r, !has(r.authentication)).size()"},
	}
	rule, problems, err := Compile(t.Context(), source, nil)
	if rule == nil || err != nil {
		t.Fatal(problems, err)
	}
	object := map[string]any{"spec": map[string]any{"x": int64(0)}}
	in := &Input{Request: &admissionv1.AdmissionRequest{Operation: operation}, Object: object, Effects: effects}
	in.Resource, _ = ResourceOf(runtimeschema.GroupKind{Group: gatewayGroup, Kind: "HTTPRoute"})
	switch operation {
	case admissionv1.Update:
		in.OldObject = object
	case admissionv1.Delete:
		in.Object, in.OldObject = nil, object
	default:
	}
	findings, err := rule.Judge(t.Context(), in)
	if err != nil || len(findings) > 1 {
		t.Fatalf("%v, %v", findings, err)
	}
	switch {
	case len(findings) == 0:
		return ""
	case findings[0].Before:
		return "before: " + findings[0].Message
	}
	return findings[0].Message
}

// TestRulesThatCountRoutes: what a rule can ask of the routes of a large Gateway is within the cost limits.
func TestRulesThatCountRoutes(t *testing.T) {
	var all []string
	for i := range 10_000 {
		all = append(all, fmt.Sprintf("r%d / open", i))
	}
	effects, err := NewEffects(routes(), routes(all...))
	if err != nil {
		t.Fatal(err)
	}
	got := judged(t, "UPDATE", "effective.routes.filter(r, r.listener.owner.namespace == 'infra').all(r, !r.closed && !has(r.authentication))", "''",
		func() (*Effects, error) { return effects, nil })
	if got != "" {
		t.Errorf("got %q", got)
	}
}
