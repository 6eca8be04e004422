package translator

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/healthcheck"
)

// setProtocol sets the protocol to the backend from the appProtocol of the port, unless a policy says that it is that of the
// client. If nothing says it, Envoy and the backend negotiate it when they use TLS. gRPC is always HTTP/2.
func setProtocol(u *feature.Upstream, use *clusterUse) {
	options, http2 := u.HTTP, http2Options()
	if u.HTTP2 != nil {
		proto.Merge(http2, u.HTTP2)
	}
	explicit := &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
	}
	use.nameServers(options)
	b := use.Backends[0]
	healthcheck.Speak(u.Cluster, b.speaksHTTP2())
	switch {
	case use.followsClient(b):
		options.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: http2,
			},
		}
		return
	case b.speaksHTTP2():
		explicit.ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2}
	case use.alwaysTLS() && !sayWebSocket(b.Port) && !use.offersHTTP1():
		options.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &upstreamhttpv3.HttpProtocolOptions_AutoHttpConfig{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: http2,
		}}
		return
	}
	options.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}
}

// followsClient reports whether the backend is spoken to in the version of HTTP of each request.
func (c *clusterUse) followsClient(b backend) bool { return c.Follows && !b.HTTP2 }

// speaksHTTP2 reports whether the backend is spoken to in HTTP/2, whatever TLS negotiates.
func (b backend) speaksHTTP2() bool { return b.HTTP2 || sayHTTP2(b.Port) }

// sayHTTP2 reports whether the port is for HTTP/2 (Kubernetes, appProtocol).
func sayHTTP2(port backendPort) bool {
	return slices.Contains([]string{"kubernetes.io/h2c", "grpc", string(v1alpha1.AppProtocolH2C)}, port.AppProtocol)
}

// sayWebSocket reports whether the port is for WebSockets, which need HTTP/1.1.
func sayWebSocket(port backendPort) bool {
	protocols := []string{
		"kubernetes.io/ws", "kubernetes.io/wss", string(v1alpha1.AppProtocolWS),
		string(v1alpha1.AppProtocolWSS),
	}
	return slices.Contains(protocols, port.AppProtocol)
}

// unspoken says why requests of a kind of route cannot be sent in the protocol of the port; empty if they can.
// Protocols that are only names, such as https, are ignored: Services have them whatever their backends speak, and TLS
// is up to BackendTLSPolicies.
func (b backend) unspoken(kind *routeKind) string {
	group, _, _ := strings.Cut(b.Port.AppProtocol, "/")
	switch {
	case b.To == nil || kind.failure == 0 || !sayWebSocket(b.Port):
		return "" // Layer 4 forwards whatever is spoken.
	case kind.http2:
		return fmt.Sprintf("which gRPC cannot be sent in: use one with appProtocol %s/h2c", group)
	case b.TLS == nil && strings.HasSuffix(b.Port.AppProtocol, "/wss"):
		return fmt.Sprintf("which needs TLS: %s, or use appProtocol %s/ws", b.wayToTLS(), group)
	}
	return ""
}
