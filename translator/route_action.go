package translator

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
)

// envoyRoutes are the routes of a match of a rule: one, or one for each backend (byShare).
func (t *Tables) envoyRoutes(bound *boundRule, match *gwapiv1.HTTPRouteMatch, also feature.Condition) []*feature.Route {
	built, spec := t.newRoute(bound, match, also), &bound.rules.Route.Rules[bound.rule]
	route := built.Route
	if bound.answer != "" {
		bound.prove(route)
		return []*feature.Route{built}
	}
	if bound.closed() {
		fail(route, bound.rules.Route)
		bound.common.exempt(route)
		policies.SettleRule(spec, built)
		return []*feature.Route{built}
	}
	shares := forward(route, bound)
	bound.policed(route)
	policies.RouteRule(spec, bound.have(), built)
	shareByHash(route.GetRoute())
	policies.SettleRule(spec, built)
	return byShare(built, shares)
}

// newRoute is a route of a match of a rule that does nothing yet.
func (t *Tables) newRoute(bound *boundRule, match *gwapiv1.HTTPRouteMatch, also feature.Condition) *feature.Route {
	return &feature.Route{
		Route: &routev3.Route{Match: envoyMatchAnd(match, also)}, Owner: bound.name(), Match: match,
		Scheme: bound.listener.scheme(), Port: bound.listener.Spec.Port, GRPC: bound.rules.Route.Kind.http2,
		EndsIdle: bound.traits.EndsIdle, Once: t.settings.RetriesDisabled, Guarded: bound.listener.guarded(),
	}
}

// fail makes a rule fail closed that cannot be carried out as written.
func fail(route *routev3.Route, of *routeRow) {
	route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: of.Kind.failure}}
}

// unusableCodes are Envoy's names for the answer to the share of backends that cannot be used.
var unusableCodes = map[uint32]routev3.RouteAction_ClusterNotFoundResponseCode{
	500: routev3.RouteAction_INTERNAL_SERVER_ERROR,
	503: routev3.RouteAction_SERVICE_UNAVAILABLE,
}

// forward sends requests to the rule's backends by their weights, and returns the shares. Without a usable backend it
// fails, as Gateway API asks (HTTPRouteRule and GRPCRouteRule, backendRefs).
func forward(route *routev3.Route, bound *boundRule) []*feature.Share {
	shares := backendShares(bound, &bound.rules.Rules[bound.rule])
	if !slices.ContainsFunc(shares, func(s *feature.Share) bool { return s.Name != unusableCluster }) {
		fail(route, bound.rules.Route)
		return shares
	}
	action := &routev3.RouteAction{ClusterNotFoundResponseCode: unusableCodes[bound.rules.Route.Kind.failure]}
	if bound.rules.Route.Kind.http2 {
		action.Timeout = durationpb.New(0) // A stream lasts as long as client and server want; Envoy would end it after 15 s.
	}
	weighted := make([]*routev3.WeightedCluster_ClusterWeight, len(shares))
	for i, s := range shares {
		weighted[i] = s.WeightedCluster_ClusterWeight
	}
	shareOut(action, weighted)
	route.Action = &routev3.Route_Route{Route: action}
	return shares
}

// shareOut shares the requests among clusters. A single cluster that gets the requests as they are needs no weight.
func shareOut(action *routev3.RouteAction, clusters []*routev3.WeightedCluster_ClusterWeight) {
	if only := clusters[0]; len(clusters) == 1 && !feature.ChangesHeaders(only) {
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: only.Name}
		return
	}
	action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: clusters}}
}

// backendShares lists the clusters with their shares; backends that share a cluster and have no filters of their own
// are added up.
func backendShares(bound *boundRule, rule *ruleRow) []*feature.Share {
	var shares []*feature.Share
	for i, b := range rule.Backends {
		if b.share() == 0 {
			continue // It takes over from those that share its cluster.
		}
		name := unusableCluster
		if bound.clusters[min(i, len(bound.clusters)-1)] != nil {
			name = bound.clusters[i].Name
		}
		same := slices.IndexFunc(shares, func(s *feature.Share) bool { return s.Name == name && s.Plain() })
		if same >= 0 && len(b.Filters) == 0 {
			shares[same].Weight.Value += b.share()
			continue
		}
		s := &feature.Share{WeightedCluster_ClusterWeight: &routev3.WeightedCluster_ClusterWeight{
			Name:   name,
			Weight: wrapperspb.UInt32(b.share()),
		}}
		policies.Share(&bound.rules.Route.Rules[bound.rule], b.At, s)
		shares = append(shares, s)
	}
	return shares
}

// shareByHash makes the hash of a request choose the share too. So a client that gets answers continues to get them,
// and a client whose share has no usable backend does not get answers now and then.
func shareByHash(action *routev3.RouteAction) {
	if shares := action.GetWeightedClusters(); shares != nil && len(action.GetHashPolicy()) > 0 {
		shares.RandomValueSpecifier = &routev3.WeightedCluster_UseHashPolicy{UseHashPolicy: wrapperspb.Bool(true)}
	}
}
