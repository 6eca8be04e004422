package translator

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	skipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/policies/feature"
	"gatehouse/policies/retry"
)

// What an endpoint did not get is tried at another one, if neither a route nor a policy says how requests are tried again. See decision 023.

// unreached is how such requests and connections are tried again.
var unreached = retry.Unreached()

// retried are the fields of a virtual host that have it so for all of its requests. The retry of a route replaces it.
var retried = encode(&routev3.VirtualHost{
	RetryPolicy:          unreached,
	TypedPerFilterConfig: map[string]*anypb.Any{repeatFilter: packed(enabled)},
})

// enabled switches a filter on that is disabled in the connection manager, and changes nothing of its configuration.
var enabled = &routev3.FilterConfig{Config: &anypb.Any{}}

// retries is nil if nothing is tried again by default.
func (s *Settings) retries() *routev3.RetryPolicy {
	if s.RetriesDisabled {
		return nil
	}
	return unreached
}

// repeatFilter is the HTTP filter that has requests tried elsewhere too if the connection broke before there was an answer, so that nobody knows
// whether the endpoint got them. It passes over all but those of safe methods.
const repeatFilter = "envoy.filters.http.match_delegate/repeat"

// safeMethods change nothing, so that their requests may be sent again (RFC 9110, sections 9.2.1 and 9.2.2).
var safeMethods = []string{"GET", "HEAD", "OPTIONS"}

// repeats is the filter as every connection manager has it: disabled, for virtual hosts to enable.
func repeats() *hcmv3.HttpFilter {
	skip := passOver()
	var unsafe []*xdsmatcherv3.Matcher_MatcherList_Predicate
	for _, method := range safeMethods {
		unsafe = append(unsafe, &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{
			NotMatcher: methodIs(method),
		}})
	}
	return feature.DisabledFilter(repeatFilter, &matchingv3.ExtensionWithMatcher{
		XdsMatcher: &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{
			Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{
				Predicate: &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
					AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: unsafe},
				}},
				OnMatch: skip,
			}},
		}}},
		ExtensionConfig: &corev3.TypedExtensionConfig{Name: "repeat", TypedConfig: packed(&headersv3.HeaderMutation{
			Mutations: &headersv3.Mutations{RequestMutations: []*mutationv3.HeaderMutation{{
				Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
					Header:       &corev3.HeaderValue{Key: "x-envoy-retry-on", Value: "reset"},
					AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
				}},
			}}},
		})},
	})
}

// passOver has a filter with a matcher do nothing.
func passOver() *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
		Action: &xdscorev3.TypedExtensionConfig{Name: "skip", TypedConfig: packed(&skipv3.SkipFilter{})},
	}}
}

func methodIs(method string) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input: &xdscorev3.TypedExtensionConfig{Name: "method", TypedConfig: packed(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: methodHeader})},
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{
				ValueMatch: &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: method}},
			},
		},
	}}
}

// settleRepeats has safe requests repeated as far as the retry of a rule goes. It leaves them to a policy that says itself what is tried again.
// On a listener with filters, the route that sends requests through them has enabled the filter whether or not anything is repeated by default.
func (s *Settings) settleRepeats(route *routev3.Route, own, guarded bool) {
	policy := route.GetRoute().GetRetryPolicy()
	switch {
	case own && policy.GetNumRetries().GetValue() > 0:
		feature.PerRoute(route, repeatFilter, enabled)
	case policy != nil || guarded && s.RetriesDisabled:
		feature.PerRoute(route, repeatFilter, &routev3.FilterConfig{Disabled: true})
	}
}
