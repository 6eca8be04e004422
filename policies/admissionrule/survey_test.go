package admissionrule

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/effective"
)

// everywhere is a rule about all kinds.
func everywhere(expression string) *rulesv1alpha1.AdmissionRule {
	source := anyRule(expression, `string(effective.routes.size()) + ": " + effective.routes.map(r, r.name).join(" ")`)
	source.Spec.MatchConstraints.ResourceRules = []rulesv1alpha1.ResourceRule{{
		APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}, Operations: []rulesv1alpha1.Operation{"*"},
	}}
	return source
}

// findings asks a survey about objects (kind, namespace, name), and returns what it finds: object, severity and message.
func findings(t *testing.T, earlier, whole *effective.Configuration, source *rulesv1alpha1.AdmissionRule, objects ...string) (all []string) {
	t.Helper()
	rule, problems, err := Compile(t.Context(), source, nil)
	if rule == nil || err != nil {
		t.Fatal(problems, err)
	}
	survey, err := NewSurvey(earlier, whole)
	if err != nil {
		t.Fatal(err)
	}
	inquiry := NewInquiry(rule)
	for _, name := range objects {
		words := strings.Split(name, "/")
		in := &Input{Request: &admissionv1.AdmissionRequest{Operation: admissionv1.Create}, Object: map[string]any{"kind": words[0]}}
		in.Request.Namespace, in.Request.Name = words[1], words[2]
		at := slices.IndexFunc(Resources, func(r Resource) bool { return r.Kind == words[0] })
		in.Resource, _ = ResourceOf(runtimeschema.GroupKind{Group: Resources[at].Group, Kind: words[0]})
		found, err := inquiry.Judge(t.Context(), survey.Subject(in))
		if err != nil {
			t.Fatal(err)
		}
		for i := range found {
			if found[i].Before {
				name = "before: " + name
			}
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s: %s %s", name, found[i].Severity, found[i].Message, found[i].At)))
		}
	}
	return all
}

// TestASurveyFindsAViolationOnce: at the route that violates a requirement alone, if the rule is about it, and otherwise
// at the first object that touches what violates it together.
func TestASurveyFindsAViolationOnce(t *testing.T) {
	whole := routes("a / login", "b / login", "b /x open", "c / login")
	whole.Routes[0].Policies = []effective.Policy{{Kind: "SecurityPolicy", Namespace: "shop", Name: "login"}}
	whole.Routes[3].Backends = []effective.Backend{{Kind: "Service", Namespace: "shop", Name: "cart"}}
	for _, r := range whole.Routes {
		r.Listener = &effective.Entry{Name: "http", Owner: entry.Owner, Gateway: effective.Gateway{Namespace: "infra", Name: "eg", Class: "eg"}}
	}
	objects := []string{
		"HTTPRoute/shop/a", "HTTPRoute/shop/b", "HTTPRoute/shop/c", "Gateway/infra/eg", "GatewayClass//eg",
		"SecurityPolicy/shop/login", "SecurityPolicy/shop/other", "Service/shop/cart", "Secret/shop/unused",
	}
	for _, c := range []struct {
		expression string
		kinds      []string
		want       string
	}{
		{"effective.routes.all(r, has(r.authentication))", nil, "HTTPRoute/shop/b deny: 1: b spec.rules[1]"},
		{"effective.routes.all(r, has(r.authentication))", []string{"gateways"}, "Gateway/infra/eg deny: 1: b"},
		{"effective.routes.all(r, has(r.authentication))", []string{"services"}, ""},
		{"effective.routes.all(r, !has(r.backends))", []string{"securitypolicies"}, ""},
		{"effective.routes.all(r, r.name != 'a')", []string{"securitypolicies"}, "SecurityPolicy/shop/login deny: 1: a"},
		{"effective.routes.size() < 4", nil, "Gateway/infra/eg deny: 4: a b b c"},
		{"effective.routes.size() < 2", nil, "HTTPRoute/shop/b deny: 2: b b, Gateway/infra/eg deny: 2: a c"},
		{"effective.routes.size() < 2 || object.kind == 'Gateway'", nil, "HTTPRoute/shop/b deny: 2: b b, GatewayClass//eg deny: 2: a c"},
		// A rule that requires something of nothing is violated by each object that touches nothing, as in admission.
		{"effective.routes.size() > 0", nil, "SecurityPolicy/shop/other deny: 0:"},
		{"object.kind != 'Gateway' || effective.cut", nil, "Gateway/infra/eg deny: 4: a b b c"},
	} {
		source := everywhere(c.expression)
		if c.kinds != nil {
			source.Spec.MatchConstraints.ResourceRules[0].Resources = c.kinds
		}
		if got := strings.Join(findings(t, nil, whole, source, objects...), ", "); got != c.want {
			t.Errorf("%s of %v: got %q, want %q", c.expression, c.kinds, got, c.want)
		}
	}
}

// TestASurveyKnowsWhatWasThereEarlier: as in admission, what violated a requirement before is not held against an object.
func TestASurveyKnowsWhatWasThereEarlier(t *testing.T) {
	for _, c := range []struct {
		expression     string
		earlier, whole *effective.Configuration
		want           string
	}{
		{"effective.routes.all(r, has(r.authentication))", routes("a / open"), routes("a / open", "b / open"), "Gateway/infra/eg deny: 1: b"},
		{"effective.routes.all(r, has(r.authentication))", routes("a / open"), routes("a / open", "b / login"), "before: Gateway/infra/eg deny: 1: a"},
		{"effective.routes.all(r, has(r.authentication))", routes("a / login"), routes("a / open"), "Gateway/infra/eg deny: 1: a"},
		{"effective.routes.size() < 2", routes("a / open", "b / open"), routes("a / open", "b / open"), "before: Gateway/infra/eg deny: 2: a b"},
		{"effective.routes.size() < 2", routes("a / open", "b / open"), routes("a / open", "b / open", "c / open"), "Gateway/infra/eg deny: 3: a b c"},
	} {
		got := findings(t, c.earlier, c.whole, everywhere(c.expression), "Gateway/infra/eg")
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s: got %q, want %q", c.expression, got, c.want)
		}
	}
}

// TestWhatCannotBeEvaluatedTogetherIsANote: each route of a large Gateway was looked at, so a rule that costs too much for
// all of them is told of, and is no reason to fail.
func TestWhatCannotBeEvaluatedTogetherIsANote(t *testing.T) {
	var all []string
	for i := range 3000 {
		all = append(all, fmt.Sprintf("r%d / login", i))
	}
	whole := routes(append(all, "open / open")...)
	source := everywhere("effective.routes.all(r, effective.routes.all(s, has(s.authentication)))")
	got := findings(t, nil, whole, source, "HTTPRoute/shop/open", "Gateway/infra/eg")
	want := []string{
		"HTTPRoute/shop/open deny: 1: open spec.rules[0]",
		"Gateway/infra/eg audit: the rule can be evaluated for each of these 3000 routes and listeners, but not for all together: " +
			"the rule cannot be evaluated: its expressions cost too much for an object of this size: ask its owner to correct it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
