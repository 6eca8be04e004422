package policies

import (
	"bytes"
	"encoding/binary"
	"iter"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/policies/admissioncontrol"
	"gatehouse/policies/authorization"
	"gatehouse/policies/bandwidthlimit"
	"gatehouse/policies/basicauth"
	"gatehouse/policies/circuitbreaker"
	"gatehouse/policies/clientcertificate"
	"gatehouse/policies/clientclientipdetection"
	"gatehouse/policies/clientconnection"
	"gatehouse/policies/clientgrpc"
	"gatehouse/policies/clientheaders"
	"gatehouse/policies/clienthealthcheck"
	"gatehouse/policies/clienthttp1"
	"gatehouse/policies/clienthttp2"
	"gatehouse/policies/clienthttp3"
	"gatehouse/policies/clientpath"
	"gatehouse/policies/clientproxyprotocol"
	"gatehouse/policies/clientscheme"
	"gatehouse/policies/clienttcpkeepalive"
	"gatehouse/policies/clienttimeout"
	"gatehouse/policies/clienttls"
	"gatehouse/policies/compressor"
	"gatehouse/policies/connection"
	"gatehouse/policies/cors"
	"gatehouse/policies/csrf"
	"gatehouse/policies/dns"
	"gatehouse/policies/extauth"
	"gatehouse/policies/faultinjection"
	"gatehouse/policies/feature"
	"gatehouse/policies/filtercredentialinjection"
	"gatehouse/policies/filterdirectresponse"
	"gatehouse/policies/filtermatches"
	"gatehouse/policies/filterurlrewrite"
	"gatehouse/policies/grpcweb"
	"gatehouse/policies/headers"
	"gatehouse/policies/healthcheck"
	"gatehouse/policies/http2"
	"gatehouse/policies/httpupgrade"
	"gatehouse/policies/loadbalancer"
	"gatehouse/policies/mirror"
	"gatehouse/policies/proxyprotocol"
	"gatehouse/policies/ratelimit"
	"gatehouse/policies/redirect"
	"gatehouse/policies/requestbuffer"
	"gatehouse/policies/responseoverride"
	"gatehouse/policies/retry"
	"gatehouse/policies/rewrite"
	"gatehouse/policies/routingtype"
	"gatehouse/policies/session"
	"gatehouse/policies/tcpkeepalive"
	"gatehouse/policies/telemetry"
	"gatehouse/policies/timeout"
	"gatehouse/policies/trace"
	"gatehouse/policies/useclientprotocol"
)

// features is every feature of policies, rules and Gateways. Its order is the order of the HTTP filters, and that in
// which the features of a kind are applied.
var features = []bound{
	rule(trace.Feature),
	traffic(responseoverride.Feature), // Before all that may answer.
	traffic(requestbuffer.Feature),    // Before all that may wait: behind it, Envoy would not notice bodies that are too large.
	traffic(faultinjection.Feature),
	security(cors.Vary),
	security(cors.Feature),
	security(csrf.Feature),
	security(extauth.OfPolicy),
	security(basicauth.Feature),
	security(authorization.Feature),
	rule(rewrite.Feature), // Before headers, so that a change of x-forwarded-host wins over what it adds.
	extension(filterurlrewrite.Feature),
	rule(headers.Feature),
	rule(mirror.Feature),
	rule(cors.OfRule),
	rule(extauth.Feature),
	traffic(ratelimit.Feature),
	traffic(bandwidthlimit.Feature),
	traffic(compressor.Feature),
	traffic(admissioncontrol.Feature),
	traffic(useclientprotocol.Feature),
	traffic(routingtype.Feature),
	traffic(telemetry.Feature),
	traffic(httpupgrade.Feature),
	rule(grpcweb.Feature),
	rule(session.Feature),
	extension(filtermatches.Feature),
	extension(filtercredentialinjection.Feature),
	extension(filterdirectresponse.Feature),
	rule(redirect.Feature),
	rule(retry.OfRule),
	rule(timeout.OfRule),
	rule(retry.Repeat),
	settings(timeout.Feature),
	settings(retry.Feature),
	settings(loadbalancer.Feature),
	settings(healthcheck.Feature),
	settings(circuitbreaker.Feature),
	settings(connection.Feature),
	settings(dns.Feature),
	settings(http2.Feature),
	settings(proxyprotocol.Feature),
	settings(tcpkeepalive.Feature),
	gateway(clientcertificate.Feature),
	listeners(clienttls.Feature),
	listeners(clientproxyprotocol.Feature),
	listeners(clienttcpkeepalive.Feature),
	listeners(clientclientipdetection.Feature),
	listeners(clienthealthcheck.Feature), // Its filter is before that of headers, and answers before all others.
	listeners(clientpath.Feature),
	listeners(clientheaders.Feature),
	listeners(clienttimeout.Feature),
	listeners(clientconnection.Feature),
	listeners(clienthttp1.Feature),
	listeners(clienthttp2.Feature),
	listeners(clienthttp3.Feature),
	listeners(clientgrpc.Feature),
	listeners(clientscheme.Feature),
}

// Names returns the features of the kind that have fields of their own, in order, each with the folder of its package.
func (k Kind) Names() iter.Seq2[string, string] {
	return func(yield func(name, folder string) bool) {
		for f := range k.features {
			if f.name != "" && !yield(f.name, f.folder) {
				return
			}
		}
	}
}

// Needs lists what the policy refers to, its targets apart. Fields are relative to spec.
func (k Kind) Needs(p Object) []feature.Need {
	var needs []feature.Need
	for f := range k.features {
		needs = append(needs, f.needs(p)...)
	}
	return needs
}

// Cluster sets what the policy says about clusters, defaults included. A nil policy sets the defaults.
func (k Kind) Cluster(p Object, have feature.Have, upstream *feature.Upstream) {
	for f := range k.features {
		f.cluster(p, have, upstream)
	}
}

// ShapesCluster reports whether a cluster with the policy differs from one without. A policy that repeats the defaults
// makes no difference, unless an EnvoyProxy may have changed them.
func (k Kind) ShapesCluster(p Object, have feature.Have) bool {
	for _, ofService := range []bool{false, true} {
		with, without := feature.NewUpstream(), feature.NewUpstream()
		with.Endpoints.OfService, without.Endpoints.OfService = ofService, ofService
		k.Cluster(p, have, with)
		k.Cluster(nil, feature.Have{}, without)
		if with.Certificate != without.Certificate || !bytes.Equal(Settings(with), Settings(without)) {
			return true
		}
	}
	return false
}

// Cost estimates what the policy costs each route that it covers, in bytes of an Envoy, the size of what it sets there
// apart.
func (k Kind) Cost(p Object) (cost int64) {
	for f := range k.features {
		cost += f.cost(p).Route
	}
	return cost
}

// Traits returns what is known of what the policy covers.
func (k Kind) Traits(p Object) (traits feature.Traits) {
	for f := range k.features {
		traits = traits.Or(f.traits(p))
	}
	return traits
}

// Route applies the policy to a route. The settings of the HTTPRoute itself win, so they must be applied afterwards.
func (k Kind) Route(p Object, have feature.Have, route *routev3.Route) {
	k.routeOf(p, func(string) Object { return p }, have, route)
}

// routeOf is Route for a policy of which owner wrote a field.
func (k Kind) routeOf(p Object, owner func(field string) Object, have feature.Have, route *routev3.Route) {
	for f := range k.features {
		by := owner(SpecField + "." + f.name)
		built := &feature.Route{Route: route, Owner: by.GetNamespace() + "/" + by.GetName()}
		f.route(p, have, built)
	}
}

// Listener sets what the policy says about a listener, defaults included. A nil policy sets the defaults.
func (k Kind) Listener(p Object, have feature.Have, l *feature.Listener) {
	for f := range k.features {
		f.listener(p, have, l)
	}
}

// ListenerPart is what one feature of a policy sets on a listener that does not terminate TLS, encoded; TLS apart.
type ListenerPart struct {
	// Feature is the field of the spec.
	Feature string
	// Socket is what all listeners of a port share, Rest what those for HTTP share besides. Requests is the part of
	// Rest that only listeners that read requests have.
	Socket, Rest, Requests string
	// TLS is what only listeners that terminate TLS have, and Inspector the part of Socket that those have besides which
	// forward it.
	TLS, Inspector string
	// QUIC reports whether the feature asks for HTTP/3. Listeners of a port may differ in it.
	QUIC bool
}

// ListenerParts returns what each feature that shapes listeners sets. They are the same features in the same order for
// all policies of the kind. A nil policy has the defaults.
func (k Kind) ListenerParts(p Object, have feature.Have) []ListenerPart {
	var parts []ListenerPart
	for f := range k.features {
		if f.shapesListeners {
			l, terminating := feature.NewListener(), feature.NewListener()
			terminating.TLS = &tlsv3.DownstreamTlsContext{}
			f.listener(p, have, l)
			f.listener(p, have, terminating)
			parts = append(parts, ListenerPart{
				Feature: f.name, Socket: string(joined(l.Socket, l.Inspector)), Rest: string(feature.Encode(l.Chain)) + l.Requests(),
				Requests: l.Requests(), QUIC: l.QUIC,
				TLS: string(joined(terminating.TLS, terminating.Clients)), Inspector: string(feature.Encode(l.Inspector)),
			})
		}
	}
	return parts
}

// ShapesListeners reports whether policies of the kind say something about listeners. One kind does.
func (k Kind) ShapesListeners() bool {
	return k.any(func(f bound) bool { return f.shapesListeners })
}

// ShapesRoutes reports whether policies of the kind say something about routes or their connections and clusters. One
// of a kind that is not served yet may.
func (k Kind) ShapesRoutes() bool {
	return k.Unserved || k.any(func(f bound) bool { return f.shapesRoutes })
}

func (k Kind) any(is func(bound) bool) bool {
	for f := range k.features {
		if is(f) {
			return true
		}
	}
	return false
}

// Connection applies the policy to connections that are forwarded without reading their content.
func (k Kind) Connection(p Object, have feature.Have, connection *feature.Connection) {
	for f := range k.features {
		f.connection(p, have, connection)
	}
}

// Filters returns the HTTP filters of all features, in order. Every connection manager has all of them, and then the
// router.
func Filters() []feature.Filter {
	var filters []feature.Filter
	for _, f := range features {
		filters = append(filters, f.filters...)
	}
	return filters
}

// off are the configurations with which filters do nothing on a route, by the name of the filter.
var off = func() map[string]*anypb.Any {
	configs := map[string]*anypb.Any{}
	for _, f := range Filters() {
		if f.Off != nil {
			configs[f.Name] = feature.Any(f.Off)
		}
	}
	return configs
}()

// Off returns the configuration with which a filter does nothing on a route, or nil if the filter has none
// (feature.Filter, Off). Callers must not change it.
func Off(filter string) *anypb.Any { return off[filter] }

// Settings encodes the settings of an upstream, without the certificate, which belongs to the TLS of its backends:
// equal settings have equal bytes, in every replica and after every restart.
func Settings(upstream *feature.Upstream) []byte {
	return append(joined(upstream.Cluster, upstream.HTTP), upstream.Rest()...)
}

// joined encodes messages one after the other. Their lengths prevent bytes of one from counting as bytes of the next.
func joined(messages ...proto.Message) []byte {
	var out []byte
	for i, m := range messages {
		encoded := feature.Encode(m)
		if i < len(messages)-1 {
			out = binary.AppendUvarint(out, uint64(len(encoded)))
		}
		out = append(out, encoded...)
	}
	return out
}
