//go:build gatehousedebug

package translator

import (
	"path"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// annotationBreak on an object makes Envoy reject what is translated from it. Its value says which part: "true" for the
// forwarding of an HTTPRoute, the clusters that a policy shapes, or a Secret; "filters" for the filters of a policy;
// "match" for the matches of an HTTPRoute; the name of a listener for that listener of a Gateway. It simulates what
// Envoy rejects although all our checks accept it.
const annotationBreak = "debug.gatehouse.dev/break"

func toBreak(o Object, value string) bool { return o.GetAnnotations()[annotationBreak] == value }

func breakRoute(o Object, route *routev3.Route) {
	if toBreak(o, "match") {
		route.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "(?=x)"}}
	}
	if action := route.GetRoute(); action != nil && toBreak(o, "true") {
		action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: "(?=x)"}}
	}
}

func breakFilters(o Object, route *routev3.Route) {
	for filter := range route.TypedPerFilterConfig {
		if toBreak(o, "filters") {
			route.TypedPerFilterConfig[filter] = &anypb.Any{TypeUrl: typePrefix + "nobody.has.this"}
		}
	}
}

func breakCluster(o Object, cluster *clusterv3.Cluster) {
	if toBreak(o, "true") {
		cluster.TypedExtensionProtocolOptions["nobody.has.this"] = &anypb.Any{TypeUrl: typePrefix + "nobody.has.this"}
	}
}

func breakChain(o Object, chain *listenerv3.FilterChain) {
	for _, filter := range chain.Filters {
		if toBreak(o, path.Base(chain.Name)) {
			filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: typePrefix + "nobody.has.this"}}
			filter.Name = "nobody.has.this"
		}
	}
}

func breakCertificate(o Object, certificate *tlsv3.TlsCertificate) {
	if toBreak(o, "true") {
		certificate.PrivateKey = inlineBytes([]byte("no key"))
	}
}
