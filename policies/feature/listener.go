package feature

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// Listener is a listener under construction. Features set what they are about and leave the rest alone. They may also
// set what the listener does not have, such as the Manager of a listener for TCP: that is not used.
type Listener struct {
	// Socket is Envoy's listener: how it accepts connections. All listeners of a port share it.
	Socket *listenerv3.Listener
	// Inspector reads the server names of TLS before a filter chain is chosen. It is used on ports for HTTPS and TLS, whose
	// listeners share it.
	Inspector *inspectorv3.TlsInspector
	// Chain is the filter chain. A listener for HTTPS or TLS has its own, and its own of everything below. The
	// listeners for HTTP of a port share all of it.
	Chain *listenerv3.FilterChain
	// TLS is how TLS with clients is terminated. It is nil if it is not terminated.
	TLS *tlsv3.DownstreamTlsContext
	// Clients is which certificates of clients are accepted, nil if clients are not asked. Envoy gets it by SDS, so that a
	// change of it drains no connection.
	Clients *tlsv3.CertificateValidationContext
	// Host is the hostname of the listener, empty if it is not one host.
	Host string
	// Router is the last filter of the Manager, which forwards requests.
	Router *routerv3.Router
	// GRPCWeb enables or disables the filter for gRPC-Web on all routes. If it is nil, the routes decide.
	GRPCWeb *bool
	// Manager reads requests. The HTTP filters that features put into it come before all others. Proxy forwards connections without reading them. A listener has one of the two.
	Manager *hcmv3.HttpConnectionManager
	Proxy   *tcpv3.TcpProxy
	// QUIC asks for HTTP/3 in addition, over QUIC on the UDP port of the same number. Only listeners for HTTPS can have
	// it. What else is set holds there too, as far as it is not about TCP.
	QUIC bool
}

// NewListener is a listener that does not terminate TLS, on which nothing is set yet.
func NewListener() *Listener {
	return &Listener{
		Socket: &listenerv3.Listener{}, Inspector: &inspectorv3.TlsInspector{}, Chain: &listenerv3.FilterChain{},
		Manager: &hcmv3.HttpConnectionManager{CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{}},
		Proxy:   &tcpv3.TcpProxy{},
		Router:  &routerv3.Router{},
	}
}

// Requests is what is set about requests, encoded.
func (l *Listener) Requests() string {
	web := "routes"
	if l.GRPCWeb != nil {
		web = strconv.FormatBool(*l.GRPCWeb)
	}
	return strings.Join([]string{string(Encode(l.Manager)), string(Encode(l.Router)), web}, "|")
}
