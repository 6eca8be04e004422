package translator

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"gatehouse/policies/feature"
)

// withinSession is the route for requests that have a session already, nil if they need none of their own. The backend
// of a request is chosen at random by weight, also among backends that cannot answer. This would break sessions on the
// other backends.
func (b *boundRule) withinSession(route *feature.Route) *feature.Route {
	shares := route.GetRoute().GetWeightedClusters().GetClusters()
	if route.Session == nil || len(shares) == 0 {
		return nil
	}
	var live []*routev3.WeightedCluster_ClusterWeight
	for _, share := range shares {
		if !b.deserted(share.Name) {
			live = append(live, share)
		}
	}
	if len(live) == 0 || len(live) == len(shares) {
		return nil
	}
	within := *route
	within.Route = proto.CloneOf(route.Route)
	within.GetRoute().ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: live}}
	within.Route.Match.Headers = append(within.Route.Match.Headers, route.Session)
	return &within
}

// deserted reports whether requests to the cluster cannot be answered, because it does not exist, or because it has no
// endpoint and so is not part of the rule's own cluster.
func (b *boundRule) deserted(cluster string) bool {
	return !slices.ContainsFunc(b.clusters, func(c *clusterUse) bool {
		return c != nil && c.Name == cluster && (c.named() || strings.HasPrefix(c.Name, rulePrefix))
	})
}
