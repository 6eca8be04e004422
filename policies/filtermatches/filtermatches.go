// Package filtermatches is the matches part of an HTTPRouteFilter: conditions of cookies beside the matches of a rule.
package filtermatches

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/regex"
	"gatehouse/policies/verdict"
)

// Feature is the matches part.
var Feature = feature.Feature[v1alpha1.HTTPRouteFilterSpec]{
	Name:       "matches",
	Check:      check,
	Conditions: conditions,
}

var types = map[v1alpha1.CookieMatchType]bool{
	v1alpha1.CookieMatchExact: true, v1alpha1.CookieMatchRegularExpression: true,
}

// anything stands for an expression that cannot be read. The rule answers 500, so that no request that the match may mean
// gets the answer of another rule (docs/decisions/009-unreadable-matches.md).
const anything = ".*"

// maxReading is the effort that the regular expressions of a filter may take to be read, all together (regex.Effort). It is
// about 0.1 s.
const maxReading = 1_000_000

// legible reports whether the expressions can be read in a bounded time. Otherwise none of them is.
func legible(spec *v1alpha1.HTTPRouteFilterSpec) bool {
	effort := 0
	for _, m := range spec.Matches {
		for _, c := range m.Cookies {
			if ptr.Deref(c.Type, v1alpha1.CookieMatchExact) == v1alpha1.CookieMatchRegularExpression {
				effort += regex.Effort(c.Value)
			}
		}
	}
	return effort <= maxReading
}

func check(spec *v1alpha1.HTTPRouteFilterSpec) (problems []verdict.Problem) {
	readable := legible(spec)
	if !readable {
		problems = append(problems, feature.Invalid("matches",
			"its regular expressions take too long to be read: use fewer or shorter ones, or several filters"))
	}
	for i, m := range spec.Matches {
		if len(m.Cookies) == 0 {
			problems = append(problems, feature.Invalid(fmt.Sprintf("matches[%d]", i), "it has no condition: write cookies, or remove it"))
		}
		for j := range m.Cookies {
			c, field := &m.Cookies[j], fmt.Sprintf("matches[%d].cookies[%d]", i, j)
			problems = append(problems, feature.CheckToken(field+".name", c.Name, "name of a cookie")...)
			kind := ptr.Deref(c.Type, v1alpha1.CookieMatchExact)
			problems = append(problems, feature.CheckChoice(field+".type", kind, types)...)
			if kind == v1alpha1.CookieMatchRegularExpression && readable {
				problems = append(problems, feature.CheckExpression(field+".value", c.Value)...)
			}
		}
	}
	return problems
}

func conditions(spec *v1alpha1.HTTPRouteFilterSpec) []feature.Condition {
	all, readable := make([]feature.Condition, len(spec.Matches)), legible(spec)
	for i, m := range spec.Matches {
		for j := range m.Cookies {
			add(&all[i], &m.Cookies[j], readable)
		}
	}
	return all
}

func add(to *feature.Condition, c *v1alpha1.HTTPCookieMatch, readable bool) {
	to.Cost += feature.PerEntry + feature.PerText*int64(len(c.Name)+len(c.Value))
	value := feature.Exactly(c.Value)
	if ptr.Deref(c.Type, v1alpha1.CookieMatchExact) == v1alpha1.CookieMatchExact {
		to.Exact++
	} else {
		expression := c.Value
		if !readable || regex.Check(expression) != nil {
			expression = anything
		}
		value = feature.Matching(expression)
		to.Cost += feature.Expressions(expression)
	}
	to.Cookies = append(to.Cookies, &routev3.CookieMatcher{Name: c.Name, StringMatch: value})
}
