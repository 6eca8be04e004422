package cors

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// varyFilter is the HTTP filter that says of answers that they depend on the Origin of the request. Envoy's own CORS filter does not, and headers that
// a route adds are not in answers to preflights.
const varyFilter = "envoy.filters.http.header_mutation/cors"

// Vary is the filter that makes caches tell origins apart. It belongs before that of Feature, so that it sees the answers of that one.
var Vary = feature.Feature[v1alpha1.SecurityPolicySpec]{
	Name:  "vary",
	Check: func(*v1alpha1.SecurityPolicySpec) []verdict.Problem { return nil },
	Filter: func() *hcmv3.HttpFilter {
		return feature.DisabledFilter(varyFilter, &headermutationv3.HeaderMutation{})
	},
}

// set enables CORS on a route. All its answers depend on the Origin then, those to other sites and those without one included (Fetch standard,
// CORS protocol and HTTP caches).
func (s *settings) set(route *routev3.Route) {
	feature.PerRoute(route, Filter, s.envoy())
	feature.PerRoute(route, varyFilter, &headermutationv3.HeaderMutationPerRoute{Mutations: &headermutationv3.Mutations{
		ResponseMutations: []*mutationv3.HeaderMutation{{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: "vary", Value: "Origin"},
			AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
		}}}},
	}})
}
