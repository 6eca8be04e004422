package retry

import (
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// RepeatFilter is the HTTP filter that makes requests be tried elsewhere too if the connection broke before there was
// an answer, so that nobody knows whether the endpoint got them. It skips all but those of safe methods.
const RepeatFilter = "envoy.filters.http.match_delegate/repeat"

// Repeat is the filter. Virtual hosts enable it, and settleRepeats decides for each route.
var Repeat = feature.Feature[gwapiv1.HTTPRouteRule]{
	Settle: settleRepeats,
	Filters: []feature.Filter{{
		Name: RepeatFilter, Config: repeats(),
		Off: &matchingv3.ExtensionWithMatcherPerRoute{XdsMatcher: &xdsmatcherv3.Matcher{OnNoMatch: feature.Skip()}},
	}},
}

// settleRepeats makes safe requests be repeated as far as the retry of a rule goes. It leaves them to a policy that
// says itself what is tried again. If nothing is tried again by default, virtual hosts do not enable the filter, but
// the filters of a listener do.
func settleRepeats(rule *gwapiv1.HTTPRouteRule, route *feature.Route) {
	if route.GetRoute() == nil {
		return
	}
	policy, off := route.GetRoute().GetRetryPolicy(), route.Once && route.Guarded
	switch {
	case rule.Retry != nil && policy.GetNumRetries().GetValue() > 0:
		feature.Enable(route.Route, RepeatFilter)
	case policy != nil || off:
		feature.PerRoute(route.Route, RepeatFilter, &routev3.FilterConfig{Disabled: true})
	}
}

// safeMethods change nothing, so that their requests may be sent again (RFC 9110, sections 9.2.1 and 9.2.2).
var safeMethods = []string{"GET", "HEAD", "OPTIONS"}

func repeats() *matchingv3.ExtensionWithMatcher {
	var unsafe []*feature.Predicate
	for _, method := range safeMethods {
		unsafe = append(unsafe, feature.Not(methodIs(method)))
	}
	return &matchingv3.ExtensionWithMatcher{
		XdsMatcher: &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{
			Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{
				Predicate: feature.All(unsafe),
				OnMatch:   feature.Skip(),
			}},
		}}},
		ExtensionConfig: &corev3.TypedExtensionConfig{Name: "repeat", TypedConfig: feature.Any(&headersv3.HeaderMutation{
			Mutations: &headersv3.Mutations{RequestMutations: []*mutationv3.HeaderMutation{{
				Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
					Header:       &corev3.HeaderValue{Key: "x-envoy-retry-on", Value: "reset"},
					AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
				}},
			}}},
		})},
	}
}

func methodIs(method string) *feature.Predicate {
	return feature.Is("method", &matcherv3.HttpRequestHeaderMatchInput{HeaderName: feature.MethodHeader}, feature.Same(method))
}
