package feature

import (
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/regex"
	"gatehouse/policies/verdict"
)

// matchers make matchers of Envoy, by the ways to compare a text.
var matchers = map[v1alpha1.StringMatchType]func(value string) *matcherv3.StringMatcher{
	v1alpha1.StringMatchExact: Exactly,
	v1alpha1.StringMatchPrefix: func(value string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: value}}
	},
	v1alpha1.StringMatchSuffix: func(value string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: value}}
	},
	v1alpha1.StringMatchRegularExpression: Matching,
}

// StringMatcher is Envoy's for a match, nil for one that CheckStringMatch reports.
func StringMatcher(m *v1alpha1.StringMatch) *matcherv3.StringMatcher {
	if len(CheckStringMatch("", m)) > 0 {
		return nil
	}
	return matchers[ptr.Deref(m.Type, v1alpha1.StringMatchExact)](m.Value)
}

// maxMatch is the maximum length of a value, in characters.
const maxMatch = 1024

// CheckStringMatch finds what is wrong with a match.
func CheckStringMatch(field string, m *v1alpha1.StringMatch) []verdict.Problem {
	kind := ptr.Deref(m.Type, v1alpha1.StringMatchExact)
	if problems := CheckChoice(field+".type", kind, matchers); len(problems) > 0 {
		return problems
	}
	if m.Value == "" || len([]rune(m.Value)) > maxMatch {
		return []verdict.Problem{Invalid(field+".value", "the value has %d characters: write 1 to %d", len([]rune(m.Value)),
			maxMatch)}
	}
	if kind == v1alpha1.StringMatchRegularExpression {
		if err := regex.Check(m.Value); err != nil {
			return []verdict.Problem{Invalid(field+".value", "%v", err)}
		}
	}
	return nil
}
