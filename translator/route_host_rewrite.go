package translator

import (
	"cmp"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	// forwardedHost is the header that tells a backend of the host that the client named, namedHost the command that Envoy replaces by that host.
	forwardedHost = "x-forwarded-host"
	namedHost     = "%REQ(:AUTHORITY)%"
)

// rewriteHost has a backend get a host of its own.
func rewriteHost(c *routev3.WeightedCluster_ClusterWeight, f *gwapiv1.HTTPRouteFilter) {
	if f.URLRewrite != nil && f.URLRewrite.Hostname != nil {
		setHost(c, string(*f.URLRewrite.Hostname))
	}
}

// setHost tells the backend of the host that the client named too, as Envoy does by itself where a rule rewrites it. Headers are added before the host
// is rewritten.
func setHost(c *routev3.WeightedCluster_ClusterWeight, host string) {
	c.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: host}
	c.RequestHeadersToAdd = append(c.RequestHeadersToAdd, &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: forwardedHost, Value: namedHost}, AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
	})
}

// settleHost lets the host of a backendRef win over that of its rule. Envoy does it the other way round, so where there are both, the rule's goes to
// the shares that have none.
func settleHost(action *routev3.RouteAction) {
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

// hostsCost is what the hosts that a rule and its backendRefs write cost each route. Where a backendRef has one, all shares may, see settleHost.
func hostsCost(rule *gwapiv1.HTTPRouteRule) (cost int64) {
	whole, rewritten := rewrittenHost(rule.Filters), false
	for i := range rule.BackendRefs {
		own := rewrittenHost(rule.BackendRefs[i].Filters)
		rewritten = rewritten || own != ""
		cost += 2*perEntry + perText*int64(max(len(own), len(whole))+len(forwardedHost)+len(namedHost))
	}
	if !rewritten {
		return perText * int64(len(whole))
	}
	return cost
}

// rewrittenHost is the host that filters write, empty if they leave it.
func rewrittenHost(filters []gwapiv1.HTTPRouteFilter) (host string) {
	for i := range filters {
		if rewrite := filters[i].URLRewrite; rewrite != nil {
			host = cmp.Or(string(deref(rewrite.Hostname)), host)
		}
	}
	return host
}
