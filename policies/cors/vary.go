package cors

import (
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// varyFilter is the HTTP filter that declares in responses that they depend on the Origin of the request. Envoy's own
// CORS filter does not do that, and responses to preflights do not have the headers that a route adds.
const varyFilter = "envoy.filters.http.header_mutation/cors"

// saidAlready matches the value of a Vary header that already contains Origin.
const saidAlready = `(?i)(?:.*,)?\s*origin\s*(?:,.*)?`

// Vary is the filter that makes caches distinguish origins. It must come before the filter of Feature, so that it sees
// the responses of that filter.
var Vary = feature.Feature[v1alpha1.SecurityPolicySpec]{
	Check:   func(*v1alpha1.SecurityPolicySpec) []verdict.Problem { return nil },
	Filters: []feature.Filter{{Name: varyFilter, Config: vary()}},
}

// vary is the header mutation filter, which skips responses that already contain Origin.
func vary() *matchingv3.ExtensionWithMatcher {
	said := feature.Is("vary", &matcherv3.HttpResponseHeaderMatchInput{HeaderName: "vary"}, feature.Like(saidAlready))
	return &matchingv3.ExtensionWithMatcher{
		XdsMatcher: &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{
			Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{
				Predicate: said,
				OnMatch:   feature.Skip(),
			}},
		}}},
		ExtensionConfig: &corev3.TypedExtensionConfig{
			Name:        "mutation",
			TypedConfig: feature.Any(&headermutationv3.HeaderMutation{}),
		},
	}
}

// set enables CORS on a route. Then all its responses depend on the Origin, including those to other sites and those
// without an Origin (Fetch standard, CORS protocol and HTTP caches).
func (s *settings) set(route *routev3.Route) {
	feature.PerRoute(route, filter, s.envoy())
	feature.PerRoute(route, varyFilter, &headermutationv3.HeaderMutationPerRoute{Mutations: &headermutationv3.Mutations{
		ResponseMutations: []*mutationv3.HeaderMutation{{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: "vary", Value: "Origin"},
			AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
		}}}},
	}})
}
