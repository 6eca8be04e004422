package translator

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// fail is what a rule does that cannot be carried out as written: it fails closed.
func fail(route *routev3.Route, of *routeRow) {
	route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: of.Kind.failure}}
}

// unusableCodes are Envoy's names of what answers for the share of backends that cannot be used.
var unusableCodes = map[uint32]routev3.RouteAction_ClusterNotFoundResponseCode{
	500: routev3.RouteAction_INTERNAL_SERVER_ERROR,
	503: routev3.RouteAction_SERVICE_UNAVAILABLE,
}

// forward sends requests to the rule's backends by their weights. Without a usable one it fails, as Gateway API asks
// (HTTPRouteRule and GRPCRouteRule, backendRefs).
func forward(route *routev3.Route, bound *boundRule, rule *ruleRow) {
	weighted := weights(bound, rule)
	if !slices.ContainsFunc(weighted, func(c *routev3.WeightedCluster_ClusterWeight) bool { return c.Name != unusableCluster }) {
		fail(route, bound.rules.Route)
		return
	}
	action := &routev3.RouteAction{ClusterNotFoundResponseCode: unusableCodes[bound.rules.Route.Kind.failure]}
	if bound.rules.Route.Kind.http2 {
		// A stream lasts as long as client and server want; Envoy would end it after 15 s.
		action.Timeout = durationpb.New(0)
	}
	if only := weighted[0]; len(weighted) == 1 && !changesHeaders(only) {
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: only.Name}
	} else {
		action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: weighted}}
	}
	route.Action = &routev3.Route_Route{Route: action}
}

// weights lists the clusters with their shares; backends that share a cluster and have no filters of their own are added up.
func weights(bound *boundRule, rule *ruleRow) []*routev3.WeightedCluster_ClusterWeight {
	var weighted []*routev3.WeightedCluster_ClusterWeight
	for i, b := range rule.Backends {
		name := unusableCluster
		if bound.clusters[min(i, len(bound.clusters)-1)] != nil {
			name = bound.clusters[i].Name
		}
		same := slices.IndexFunc(weighted, func(c *routev3.WeightedCluster_ClusterWeight) bool { return c.Name == name && !changesHeaders(c) })
		if same >= 0 && len(b.Filters) == 0 {
			weighted[same].Weight.Value += b.Weight
			continue
		}
		c := &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(b.Weight)}
		for f := range b.Filters {
			if apply := backendFilters[b.Filters[f].Type]; apply != nil {
				apply(c, &b.Filters[f])
			}
		}
		weighted = append(weighted, c)
	}
	return weighted
}

func changesHeaders(c *routev3.WeightedCluster_ClusterWeight) bool {
	return len(c.RequestHeadersToAdd)+len(c.RequestHeadersToRemove)+len(c.ResponseHeadersToAdd)+len(c.ResponseHeadersToRemove) > 0
}
