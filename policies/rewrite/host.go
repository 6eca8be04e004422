package rewrite

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

const (
	// forwardedHost is the header that tells a backend the host that the client named. Envoy replaces namedHost by that
	// host.
	forwardedHost = "x-forwarded-host"
	namedHost     = "%REQ(:AUTHORITY)%"
)

// setHost also tells the backend the host that the client named, as Envoy does by itself where a rule rewrites it.
// Headers are added before the host is rewritten.
func setHost(c *routev3.WeightedCluster_ClusterWeight, host string) {
	c.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: host}
	c.RequestHeadersToAdd = append(c.RequestHeadersToAdd, &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: forwardedHost, Value: namedHost},
		AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
	})
}

// settleHost lets the host of a backendRef win over that of its rule. Envoy does the opposite. So if both have one,
// that of the rule goes to the shares that have none.
func settleHost(_ *gwapiv1.HTTPRouteRule, route *feature.Route) {
	action := route.GetRoute()
	shares, host := action.GetWeightedClusters().GetClusters(), action.GetHostRewriteLiteral()
	rewritten := func(c *routev3.WeightedCluster_ClusterWeight) bool { return c.GetHostRewriteLiteral() != "" }
	if host == "" || !slices.ContainsFunc(shares, rewritten) {
		return
	}
	for _, c := range shares {
		if !rewritten(c) {
			setHost(c, host)
		}
	}
	action.HostRewriteSpecifier, action.AppendXForwardedHost = nil, false
}

// hostsCost is what the hosts that a rule and its backendRefs write cost each route, in bytes. If a backendRef has one,
// all shares may have one (settleHost).
func hostsCost(rule *gwapiv1.HTTPRouteRule) (cost int64) {
	whole, rewritten := hostIn(rule.Filters), false
	for i := range rule.BackendRefs {
		own := hostIn(rule.BackendRefs[i].Filters)
		rewritten = rewritten || own != ""
		cost += 2*feature.PerEntry + feature.PerText*int64(max(len(own), len(whole))+len(forwardedHost)+len(namedHost))
	}
	if !rewritten {
		return feature.PerText * int64(len(whole))
	}
	return cost
}
