package feature

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
)

// Upstream is a cluster being built. Features set what they are about and leave the rest alone.
type Upstream struct {
	// Cluster may have a transport socket that wraps another one. The code that builds the cluster puts the socket for
	// TLS into it.
	Cluster *clusterv3.Cluster
	// HTTP ends up in the cluster's typed_extension_protocol_options, which is up to whoever builds the cluster.
	HTTP *upstreamhttpv3.HttpProtocolOptions
	// HTTP2 replaces single options of HTTP/2, if it is spoken. It is nil for the defaults.
	HTTP2 *corev3.Http2ProtocolOptions
	// DNS is how the names of endpoints are resolved. It is nil for the defaults.
	DNS *dnsv3.DnsCluster
	// Endpoints is what is set on endpoints.
	Endpoints Endpoints

	// Unmet is what the fleet lacks for the cluster, such as a module. Nothing is sent to the cluster then. It is empty for
	// nothing.
	Unmet string

	// What follows is set by the code that builds the cluster, before the features are called.

	// Localities reports whether the cluster holds several backends, each as a locality of its own, with a name and a
	// weight. Envoy sends nothing to a locality that lacks one of them.
	Localities bool
	// Once reports whether a request that no endpoint received is by default not tried at another endpoint.
	Once bool
	// Host is the host that requests to the endpoints are for, such as those of health checks, if the feature's spec does
	// not say. It may be empty.
	Host string
	// Modules are the modules that the Envoys may load.
	Modules Modules

	// Certificate is the name of the SDS secret with the certificate that Envoy presents to backends with TLS. It is
	// empty for none. That of the Gateway is set before the features of policies are called.
	Certificate string
}

// Endpoints is what is set on the endpoints of a cluster.
type Endpoints struct {
	// ZoneWeights are the weights of zones. A zone that is not in it has weight 1. It is nil if zones do not matter.
	ZoneWeights map[string]uint32
	// OwnZone reports whether endpoints are grouped by their zones alone, to be compared with the zone of Envoy.
	OwnZone bool
	// CheckPort is the port of health checks, 0 for that of requests.
	CheckPort uint32
	// OfService reports whether requests go to the address of a Service, if it has one, and not to its endpoints.
	OfService bool
	// CheckHosts reports whether the health checks of an endpoint that has a host name are for that host.
	CheckHosts bool
}

// NewUpstream is an upstream on which nothing is set yet.
func NewUpstream() *Upstream {
	return &Upstream{Cluster: &clusterv3.Cluster{}, HTTP: &upstreamhttpv3.HttpProtocolOptions{}}
}

// AddFilter adds an HTTP filter that every request to the cluster passes, behind those that are there.
func (u *Upstream) AddFilter(name string, config proto.Message) {
	filter := func(name string, config proto.Message) *hcmv3.HttpFilter {
		return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: Any(config)}}
	}
	filters := u.HTTP.HttpFilters
	if len(filters) > 0 {
		filters = filters[:len(filters)-1] // The last one sends the request.
	}
	u.HTTP.HttpFilters = append(filters, filter(name, config),
		filter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{}))
}

// LimitToDatagrams removes what Envoy does not have for datagrams: checks of endpoints, and sockets of other kinds.
func (u *Upstream) LimitToDatagrams() {
	u.Cluster.HealthChecks, u.Cluster.OutlierDetection, u.Cluster.TransportSocket = nil, nil, nil
}

// Rest encodes what features have set elsewhere than in Cluster, HTTP and Certificate. It is empty for the defaults.
func (u *Upstream) Rest() (out []byte) {
	if u.HTTP2 != nil {
		out = fmt.Appendf(out, "http2=%q", Encode(u.HTTP2))
	}
	if u.DNS != nil {
		out = fmt.Appendf(out, "dns=%q", Encode(u.DNS))
	}
	if u.Unmet != "" {
		out = fmt.Appendf(out, "unmet=%q", u.Unmet)
	}
	e := u.Endpoints
	if e.ZoneWeights != nil {
		out = fmt.Appendf(out, "zones=%v", e.ZoneWeights) // Maps are printed in order.
	}
	if e.OwnZone {
		out = append(out, "zone=own"...)
	}
	if e.CheckPort > 0 {
		out = fmt.Appendf(out, "check=%d", e.CheckPort)
	}
	if e.OfService {
		out = append(out, "of=service"...)
	}
	if e.CheckHosts {
		out = append(out, "check=hosts"...)
	}
	return out
}
