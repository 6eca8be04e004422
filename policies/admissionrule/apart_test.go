package admissionrule

import (
	"slices"
	"testing"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
)

// TestRequirementsOfEachRoute: of which requirements it is known that each route and each listener meets them alone.
func TestRequirementsOfEachRoute(t *testing.T) {
	variables := []rulesv1alpha1.Variable{
		{Name: "limit", Expression: "60"},
		{Name: "open", Expression: "effective.routes.filter(r, !r.closed && !has(r.authentication))"},
		{Name: "public", Expression: "variables.open.filter(r, r.listener.gateway.?labels[?'exposure'].orValue('') != 'internal')"},
		{Name: "mine", Expression: "variables.open.filter(r, r.namespace == request.namespace)"},
		{Name: "names", Expression: "variables.open.map(r, r.name)"},
	}
	for expression, want := range map[string]bool{
		"effective.routes.all(r, has(r.authentication))":                                   true,
		"effective.listeners.all(l, l.port < variables.limit)":                             true,
		"variables.open.size() == 0":                                                       true,
		"size(variables.public) == 0":                                                      true,
		"effective.routes.filter(r, r.hostnames.exists(h, h.startsWith('*'))).size() == 0": true,
		"variables.open.size() < 2":                                                        false,
		"variables.mine.size() == 0":                                                       false,
		"variables.names.size() == 0":                                                      false,
		"effective.routes.exists(r, has(r.authentication))":                                false,
		"effective.routes.all(r, r.namespace == object.metadata.namespace)":                false,
		"effective.routes.all(r, effective.routes.all(s, s.name == r.name))":               false,
		"effective.routes.all(r, variables.open.size() == 0)":                              false,
		"effective.routes.filter(r, variables.open.exists(o, o == r)).size() == 0":         false,
		"effective.routes.filter(effective, !has(effective.authentication)).size() == 0":   true,
		"effective.routes.map(r, r.closed, r.name).size() == 0":                            false,
		"!effective.cut": false,
		"effective.routes.filter(r, r.closed).size() == 0 && effective.listeners.size() < 2": false,
	} {
		source := everywhere(expression)
		source.Spec.Variables = variables
		rule, problems, err := Compile(t.Context(), source, nil)
		if rule == nil || err != nil {
			t.Fatal(expression, problems, err)
		}
		if got := rule.validations[0].apart; got != want {
			t.Errorf("%s: each route alone: %t, want %t", expression, got, want)
		}
	}
}

// TestWhatMetARequirementIsNotLookedAtAgain: what is found is the same, whatever was asked before.
func TestWhatMetARequirementIsNotLookedAtAgain(t *testing.T) {
	whole := routes("a / login", "b / login", "b /x open", "c / login")
	for _, c := range []struct{ expression, first, want string }{
		{"effective.routes.all(r, has(r.authentication))", "HTTPRoute/shop/a", "Gateway/infra/eg deny: 1: b"},
		{"effective.routes.size() < 4", "HTTPRoute/shop/a", "Gateway/infra/eg deny: 4: a b b c"},
	} {
		got := findings(t, nil, whole, everywhere(c.expression), c.first, "Gateway/infra/eg")
		if !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: got %q, want %q", c.expression, got, c.want)
		}
	}
}
