package feature

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	skipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	"google.golang.org/protobuf/proto"
)

// Predicate is a condition in a tree of conditions, such as that of a filter with a matcher.
type Predicate = xdsmatcherv3.Matcher_MatcherList_Predicate

// Is is the condition that an input has a text (Same, Like). The name is for Envoy's messages.
func Is(name string, input proto.Message, text *xdsmatcherv3.StringMatcher) *Predicate {
	return single(&xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
		Input:   extension(name, input),
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: text},
	})
}

// Meets is the condition that a matcher of its own accepts an input, such as one for addresses. Both have Envoy's names.
func Meets(name string, input proto.Message, matcher string, config proto.Message) *Predicate {
	return single(&xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
		Input:   extension(name, input),
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{CustomMatch: extension(matcher, config)},
	})
}

func single(condition *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{SinglePredicate: condition}}
}

func extension(name string, config proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: Any(config)}
}

// Not is the opposite of a condition.
func Not(c *Predicate) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: c}}
}

// All is the condition that all of several are met.
func All(conditions []*Predicate) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: conditions},
	}}
}

// Skip has a filter with a matcher do nothing.
func Skip() *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
		Action: extension("skip", &skipv3.SkipFilter{}),
	}}
}

// Same matches a text in a condition.
func Same(text string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: text}}
}

// Like matches whole texts with an RE2 expression, in a condition.
func Like(expression string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{
		EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}}, Regex: expression,
	}}}
}
