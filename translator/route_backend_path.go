package translator

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// A backendRef may rewrite the path. Envoy does that by route, and not by share of one. So a match of a rule whose backends rewrite it has a route for each
// backend. See decision 044.

// rewrittenPath is how filters rewrite the path, nil if they leave it.
func rewrittenPath(filters []gwapiv1.HTTPRouteFilter) (path *gwapiv1.HTTPPathModifier) {
	for i := range filters {
		if f := &filters[i]; f.Type == gwapiv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil && f.URLRewrite.Path != nil {
			path = f.URLRewrite.Path
		}
	}
	return path
}

// checkBackendPath finds a path of a backendRef that mirrors would get too, since Envoy makes a mirrored request of the one that it forwards. It is for
// requests to that backend only (Gateway API, HTTPBackendRef filters).
func checkBackendPath(rule *gwapiv1.HTTPRouteRule, f *gwapiv1.HTTPRouteFilter, field string) []verdict.Problem {
	mirror := slices.IndexFunc(rule.Filters, func(f gwapiv1.HTTPRouteFilter) bool { return f.Type == gwapiv1.HTTPRouteFilterRequestMirror })
	if f.Type != gwapiv1.HTTPRouteFilterURLRewrite || f.URLRewrite == nil || f.URLRewrite.Path == nil || mirror < 0 {
		return nil
	}
	return []verdict.Problem{{
		Field: field + ".urlRewrite.path", Reason: string(gwapiv1.RouteReasonIncompatibleFilters), Weight: verdict.Unresolved,
		Message: fmt.Sprintf("the rule mirrors requests (filters[%d]), and Envoy would mirror them with this path too, so the rule answers 500; rewrite the path in the rule, or give the backend a rule of its own", mirror),
	}}
}

// byShare are the routes that stand for the route: itself, unless one of several backends rewrites the path. Then each backend has its own, which takes
// its share of the requests that those before it left. Envoy draws one number for each request and compares all routes with it.
func (b *routeBuilder) byShare() []*routev3.Route {
	var total, taken uint64
	rewritten := false
	for _, s := range b.shares {
		total, rewritten = total+uint64(s.Weight.Value), rewritten || s.path != nil
	}
	if !rewritten || b.route.GetRoute() == nil {
		return []*routev3.Route{b.route}
	}
	routes := make([]*routev3.Route, len(b.shares))
	for i, s := range b.shares {
		route := proto.CloneOf(b.route)
		if s.path != nil {
			rewritePath(route.GetRoute(), b.match, s.path)
		}
		if clusters := route.GetRoute().GetWeightedClusters().GetClusters(); len(clusters) > 1 {
			shareOut(route.GetRoute(), clusters[i:i+1])
		}
		if taken += uint64(s.Weight.Value); i < len(routes)-1 {
			route.Match.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
				Numerator: uint32((taken*million + total/2) / total), Denominator: typev3.FractionalPercent_MILLION,
			}}
		}
		routes[i] = route
	}
	return routes
}

// shareSuffix tells the names of the routes of one match apart.
func shareSuffix(share, of int) string {
	if of == 1 {
		return ""
	}
	return fmt.Sprintf("/share/%d", share)
}

// routesPerMatch is how many routes stand for each match of a rule at most, see byShare.
func routesPerMatch(rule *gwapiv1.HTTPRouteRule) int64 {
	if slices.ContainsFunc(rule.BackendRefs, func(b gwapiv1.HTTPBackendRef) bool { return rewrittenPath(b.Filters) != nil }) {
		return int64(len(rule.BackendRefs))
	}
	return 1
}
