package translator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	quicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator/flow"
)

// HTTP/3 comes over QUIC, for which a port has a second listener of Envoy, on UDP. It has a filter chain for each
// listener for HTTPS whose policy asks for HTTP/3. The chains have the certificates, the routes and the connection
// manager of those over TCP. What cannot have HTTP/3 is served over TCP as without it (decision 064).

// Reasons of a policy's condition FieldsEffective if HTTP/3 is not served.
const (
	reasonNotHTTPS = "ListenersWithoutHTTPS"
	// reasonClients is Envoy Gateway's.
	reasonClients      = "UnsupportedHTTP3ClientValidation"
	reasonPortTaken    = "UDPPortTaken"
	reasonQUICRejected = "HTTP3Rejected"
)

// quicHandshake is how long a client may take for the handshake of QUIC, as for that of TLS over TCP.
const quicHandshake = 10 * time.Second

// quicStreams is how many requests a connection of QUIC may have at a time, as one of HTTP/2.
const quicStreams = 100

// askingQUIC lists the fields of a policy that ask for HTTP/3.
func (p *policyRow) askingQUIC() []string {
	var fields []string
	for _, part := range p.ListenerParts {
		if part.QUIC {
			fields = append(fields, part.Feature)
		}
	}
	return fields
}

// withoutQUIC says why a listener whose policy asks for HTTP/3 does not have it, nil if it has. Certificates of clients
// are verified over TCP only. A listener for UDP keeps its port, whoever owns it.
func (t *Tables) withoutQUIC(r *flow.Read, l *listenerRow, p *policyRow) *unusedFields {
	switch protocol := l.protocol(); {
	case !protocol.tls || protocol.layer4:
		return &unusedFields{
			Reason: reasonNotHTTPS, Why: ", which have another protocol than HTTPS: set it for listeners of protocol HTTPS only",
		}
	case l.Clients != nil || p.Clients != nil:
		return &unusedFields{
			Reason: reasonClients,
			Why: ", which request certificates of clients, because these are not verified over QUIC: " +
				"use a port for HTTP/3 without validation in spec.tls.frontend of the Gateway and tls.clientValidation of the policy",
		}
	}
	if _, taken := t.firstOfPorts.Get(r, l.portKeyOf(corev1.ProtocolUDP)); taken {
		return &unusedFields{
			Reason: reasonPortTaken,
			Why:    ", because a listener of protocol UDP has their port: give one of them another port",
		}
	}
	if words, rejected := t.rejectedOverQUIC(r, l, p); rejected {
		return &unusedFields{
			Reason: reasonQUICRejected,
			Why:    fmt.Sprintf(", because Envoy rejected it: %s: remove it, or change the listener or its certificates", words),
		}
	}
	return nil
}

// rejectedOverQUIC returns Envoy's message if it rejected the filter chain of a listener over QUIC, or one of its
// certificates there.
func (t *Tables) rejectedOverQUIC(r *flow.Read, l *listenerRow, p *policyRow) (words string, rejected bool) {
	q, _ := t.quarantines.Get(r, l.fleet())
	if len(q) == 0 {
		return "", false
	}
	if words, rejected = q[partHash(encode(quicChain(l, p)))]; rejected {
		return words, true
	}
	for _, key := range l.Secrets {
		if row, ok := t.certs.Get(r, key); ok && row.Resource != nil {
			if words, rejected = q[forQUIC(row.Resource).Version]; rejected {
				return words, true
			}
		}
	}
	return "", false
}

// quicRow is a listener with HTTP/3.
type quicRow struct {
	Fleet string
	// Port is where clients get HTTP/3.
	Port gwapiv1.PortNumber
	// Secrets are the keys of the listener's certificates.
	Secrets []string
}

func (q quicRow) equal(o quicRow) bool {
	return q.Fleet == o.Fleet && q.Port == o.Port && slices.Equal(q.Secrets, o.Secrets)
}

// overQUIC is a listener that is served and has HTTP/3.
func (t *Tables) overQUIC(r *flow.Read, key string, l *listenerRow) (quicRow, bool) {
	settings, ok := t.listenersSettings.Get(r, key)
	if !ok || !settings.QUIC || !l.Serves {
		return quicRow{}, false
	}
	return quicRow{Fleet: l.fleet(), Port: l.Spec.Port, Secrets: l.Secrets}, true
}

// quicPrefix begins the names of certificates for QUIC. They are secrets of their own, because Envoy may reject a
// certificate over QUIC that it has over TCP, such as one with an Ed25519 key. Then TCP must not be without it.
const quicPrefix = "quic/"

func quicSecretKeys(_ string, q quicRow) []string {
	keys := make([]string, len(q.Secrets))
	for i, key := range q.Secrets {
		keys[i] = q.Fleet + "|" + quicPrefix + key
	}
	return keys
}

// quicSecret is a certificate under its name for QUIC.
func (t *Tables) quicSecret(r *flow.Read, key string, _ []flow.Row[quicRow]) (*Resource, bool) {
	fleet, name := splitKey(key)
	served, ok := t.secrets.Get(r, fleet+"|"+strings.TrimPrefix(name, quicPrefix))
	if !ok {
		return nil, false
	}
	return forQUIC(served), true
}

// fieldSecretName is Secret.name. If it is there twice, the last one counts.
const fieldSecretName protowire.Number = 1

// forQUIC is a certificate under its name for QUIC.
func forQUIC(certificate *Resource) *Resource {
	name := quicPrefix + certificate.Name
	renamed := protowire.AppendString(protowire.AppendTag(nil, fieldSecretName, protowire.BytesType), name)
	return encodedResource(typeSecret, name, slices.Concat(certificate.Body(), renamed), nil)
}

// quicSecrets are the listener's certificates as SDS serves them for QUIC.
func (l *listenerRow) quicSecrets() []Name {
	names := make([]Name, len(l.Secrets))
	for i, key := range l.Secrets {
		names[i] = Name{typeSecret, quicPrefix + key}
	}
	return names
}

// servesQUIC reports whether one of a port's listeners has HTTP/3.
func (t *Tables) servesQUIC(r *flow.Read, members []flow.Row[*listenerRow]) bool {
	return slices.ContainsFunc(members, func(m flow.Row[*listenerRow]) bool { return t.hasQUIC(r, m.Value) })
}

func (t *Tables) hasQUIC(r *flow.Read, l *listenerRow) bool {
	_, ok := t.quic.Get(r, l.Key)
	return ok
}

// quicListener is Envoy's second listener for a port, nil if none of the port's listeners has HTTP/3. The policy is that
// of the port.
func (t *Tables) quicListener(r *flow.Read, members []flow.Row[*listenerRow], port *policyRow) *Resource {
	first, built := first(members), newListener()
	port.shapeListener(built)
	out := built.Socket
	// No listener filter is needed: QUIC reads the server name itself.
	out.ListenerFilters, out.ListenerFiltersTimeout, out.TcpKeepalive = nil, nil, nil
	out.SocketOptions, out.MaxConnectionsToAcceptPerSocketEvent = nil, nil
	var needs []Name
	for _, l := range inOrder(members) {
		if t.hasQUIC(r, l) {
			out.FilterChains = append(out.FilterChains, quicChain(l, t.policyOfChain(r, l)))
			needs = append(append(needs, l.Gateway.routesOf(l.Key)), l.quicSecrets()...)
		}
	}
	if len(out.FilterChains) == 0 {
		return nil
	}
	out.Name, out.Address = t.quicName(r, first), first.bindAddress()
	out.Address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	out.UdpListenerConfig = &listenerv3.UdpListenerConfig{QuicOptions: &listenerv3.QuicProtocolOptions{
		CryptoHandshakeTimeout: durationpb.New(quicHandshake),
		QuicProtocolOptions: &corev3.QuicProtocolOptions{
			MaxConcurrentStreams:        wrapperspb.UInt32(quicStreams),
			InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
			InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
		},
	}}
	return resource(out, out.Name, distinct(needs)...)
}

// quicName is the name of the listener over QUIC, as Envoy Gateway has it. If another listener has this name, it is
// longer.
func (t *Tables) quicName(r *flow.Read, first *listenerRow) string {
	for name := first.Key + "-quic"; ; name += "-quic" {
		if _, taken := t.listeners.Get(r, name); !taken {
			return name
		}
	}
}

// quicChain is the filter chain of a listener for HTTPS over QUIC. Clients cannot send requests before the handshake is
// complete (early data): until then, their addresses are not proven and requests can be replayed.
func quicChain(l *listenerRow, p *policyRow) *listenerv3.FilterChain {
	built := httpListener(l, l, p, "h3")
	for _, secret := range built.TLS.CommonTlsContext.TlsCertificateSdsSecretConfigs {
		secret.Name = quicPrefix + secret.Name
	}
	built.TLS.CommonTlsContext.AlpnProtocols, built.TLS.CommonTlsContext.TlsParams = []string{"h3"}, nil // QUIC has TLS 1.3.
	built.Manager.CodecType = hcmv3.HttpConnectionManager_HTTP3
	built.Manager.Http2ProtocolOptions, built.Manager.Http3ProtocolOptions = nil, &corev3.Http3ProtocolOptions{}
	built.Chain.TransportSocketConnectTimeout, built.Chain.Filters = nil, nil // They are about TCP.
	end(built, managerName, built.Manager)
	built.Chain.TransportSocket = quicSocket(built.TLS)
	return built.Chain
}

func quicSocket(context *tlsv3.DownstreamTlsContext) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.quic",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(&quicv3.QuicDownstreamTransport{
			DownstreamTlsContext: context, EnableEarlyData: wrapperspb.Bool(false),
		})},
	}
}

// advertise makes responses tell clients for a day that they get HTTP/3 at a port (RFC 7838). A response that has such
// a header already keeps it. No port changes nothing.
func advertise(port gwapiv1.PortNumber) []*corev3.HeaderValueOption {
	if port == 0 {
		return nil
	}
	return []*corev3.HeaderValueOption{{
		Header:       &corev3.HeaderValue{Key: "alt-svc", Value: `h3=":` + strconv.Itoa(int(port)) + `"; ma=86400`},
		AppendAction: corev3.HeaderValueOption_ADD_IF_ABSENT,
	}}
}
