package translator

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"gatehouse/policies/feature"
)

// A backendRef may rewrite the path. Envoy does that for a route, not for a share of it. So a match of a rule whose
// backends rewrite the path (feature.Share, OnRoute) has a route for each backend. See decision 044.

// million is the finest denominator that Envoy knows.
const million = 1_000_000

// byShare are the routes that replace the route: itself, unless one of several backends needs a route of its own. Then
// each backend has a route, which takes its share of the requests that the routes before it left. Envoy draws one
// number for each request and compares all routes with it.
func byShare(whole *feature.Route, shares []*feature.Share) []*feature.Route {
	var total, taken uint64
	apart := false
	for _, s := range shares {
		total, apart = total+uint64(s.Weight.Value), apart || s.OnRoute != nil
	}
	if !apart || whole.GetRoute() == nil {
		return []*feature.Route{whole}
	}
	routes := make([]*feature.Route, len(shares))
	for i, s := range shares {
		own := *whole
		route := &own
		route.Route = proto.CloneOf(whole.Route)
		if s.OnRoute != nil {
			s.OnRoute(route)
		}
		if clusters := route.GetRoute().GetWeightedClusters().GetClusters(); len(clusters) > 1 {
			shareOut(route.GetRoute(), clusters[i:i+1])
		}
		if taken += uint64(s.Weight.Value); i < len(routes)-1 {
			route.Route.Match.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
				Numerator: uint32((taken*million + total/2) / total), Denominator: typev3.FractionalPercent_MILLION,
			}}
		}
		routes[i] = route
	}
	return routes
}

// shareSuffix distinguishes the names of the routes of one match.
func shareSuffix(share, of int) string {
	if of == 1 {
		return ""
	}
	return fmt.Sprintf("/share/%d", share)
}

// routesPerMatch is the maximum number of routes for each match of a rule, see byShare.
func routesPerMatch(rule *feature.Rule, traits feature.Traits) int64 {
	if traits.Apart {
		return int64(len(rule.BackendRefs))
	}
	return 1
}
