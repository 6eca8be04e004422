package translator

import (
	"fmt"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/paths"
	"gatehouse/policies/regex"
	"gatehouse/policies/verdict"
)

// maxReading is the effort that the regular expressions of a route may take to be read, all together, see regex.Effort.
// It is about 0.1 s.
const maxReading = 1_000_000

// checkLegible reports a route with so many or so large regular expressions that reading them would take too long. Then
// none of them is read.
func checkLegible(route *routeRow) *verdict.Problem {
	effort := 0
	for i := range route.Rules {
		for m := range route.Rules[i].Matches {
			for _, expression := range expressionsOf(&route.Rules[i].Matches[m]) {
				effort += regex.Effort(expression)
			}
		}
	}
	if effort <= maxReading {
		return nil
	}
	return &verdict.Problem{
		Field: "spec.rules", Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Invalid,
		Message: fmt.Sprintf("the regular expressions need %d steps to be read, and %d are the most, so the rules that have some %s: use fewer or shorter ones, or several routes",
			effort, maxReading, route.Kind.fails()),
	}
}

// judgeMatches finds what is wrong with the matches of a rule, and which of their regular expressions cannot be used.
func (row *ruleRow) judgeMatches(route *routeRow, rule int, illegible bool) []verdict.Problem {
	var problems []verdict.Problem
	matches := route.Rules[rule].Matches
	row.Loose = make([]bool, len(matches))
	row.Cost = costOf(&route.Rules[rule], row.Traits, illegible)
	for m := range matches {
		expressions := expressionsOf(&matches[m])
		if illegible && len(expressions) > 0 {
			row.Loose[m], row.Unreadable = true, append(row.Unreadable, expressions...)
			continue
		}
		wrong := route.Kind.checkMatch(route, rule, m, fmt.Sprintf("spec.rules[%d].matches[%d]", rule, m))
		if len(wrong) == 0 {
			continue
		}
		problems, row.Loose[m] = append(problems, wrong...), verdict.Has(wrong, verdict.Invalid)
		for _, expression := range expressions {
			if regex.Check(expression) != nil {
				row.Unreadable = append(row.Unreadable, expression)
			}
		}
	}
	return problems
}

// expressionsOf are the regular expressions of a match, as Envoy gets them.
func expressionsOf(m *gwapiv1.HTTPRouteMatch) (expressions []string) {
	if m.Path != nil && deref(m.Path.Type) == gwapiv1.PathMatchRegularExpression {
		expressions = append(expressions, paths.Value(m.Path))
	}
	for i := range m.Headers {
		if deref(m.Headers[i].Type) == gwapiv1.HeaderMatchRegularExpression {
			expressions = append(expressions, m.Headers[i].Value)
		}
	}
	for i := range m.QueryParams {
		if deref(m.QueryParams[i].Type) == gwapiv1.QueryParamMatchRegularExpression {
			expressions = append(expressions, m.QueryParams[i].Value)
		}
	}
	return expressions
}
