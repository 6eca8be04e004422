package translator

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/structpb"
	corev1 "k8s.io/api/core/v1"

	"gatehouse/policies/backendtls"
	"gatehouse/policies/feature"
	"gatehouse/policies/proxyprotocol"
	"gatehouse/translator/flow"
)

// clientPrefix begins the names of client certificates in Envoy, so that a Secret can be one and a listener's
// certificate as well.
const clientPrefix = "client/"

// socketMatch is the metadata with which Envoy chooses a transport socket of a cluster.
const socketMatch = "envoy.transport_socket_match"

// socket is the transport socket for the backend, nil for plain text.
func (c *clusterUse) socket(b backend) *corev3.TransportSocket {
	if b.TLS == nil {
		return nil
	}
	credentials := backendtls.Credentials{From: feature.OverADS()}
	if b.TLS.Trust != nil {
		credentials.Authorities = b.TLS.Trust.Name
	}
	credentials.Client = c.client(b)
	negotiated := !b.speaksHTTP2() && !sayWebSocket(b.Port) && !c.followsClient(b)
	return tlsSocket(packed(b.TLS.Context(credentials, negotiated)))
}

// client is the name of the SDS secret with the certificate that is presented to the backend, empty for none.
func (c *clusterUse) client(b backend) string { return cmp.Or(b.TLS.Client, c.Client) }

// socketBytes distinguish the sockets of backends. They are empty for plain text.
func (c *clusterUse) socketBytes(b backend) []byte {
	if b.TLS == nil {
		return nil
	}
	return encode(c.socket(b))
}

// alwaysTLS reports whether Envoy uses TLS to every backend of the cluster.
func (c *clusterUse) alwaysTLS() bool {
	return !slices.ContainsFunc(c.Backends, func(b backend) bool { return b.TLS == nil })
}

// mixed reports whether Envoy uses TLS to backends of the cluster in different ways.
func (c *clusterUse) mixed() bool {
	first := c.socketBytes(c.Backends[0])
	return slices.ContainsFunc(c.Backends, func(b backend) bool { return !bytes.Equal(c.socketBytes(b), first) })
}

// secure sets the transport socket of the cluster. If its backends differ, it sets one for each of them, and endpoints
// choose theirs (see choose).
func (c *clusterUse) secure(cluster *clusterv3.Cluster) {
	outer := cluster.TransportSocket
	cluster.TransportSocket = proxyprotocol.Wrap(outer, c.socket(c.Backends[0]))
	if !c.mixed() {
		return
	}
	for _, b := range c.Backends {
		socket := c.socket(b)
		if socket == nil {
			socket = &corev3.TransportSocket{
				Name:       "envoy.transport_sockets.raw_buffer",
				ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(&rawv3.RawBuffer{})},
			}
		}
		if name := clusterName(b); !slices.ContainsFunc(cluster.TransportSocketMatches,
			func(m *clusterv3.Cluster_TransportSocketMatch) bool { return m.Name == name }) {
			cluster.TransportSocketMatches = append(cluster.TransportSocketMatches, &clusterv3.Cluster_TransportSocketMatch{
				Name: name, Match: chooses(b), TransportSocket: proxyprotocol.Wrap(outer, socket),
			})
		}
	}
}

// choose marks a backend's endpoints if the cluster has a transport socket for each backend.
func (c *clusterUse) choose(b backend, endpoints []*endpointv3.LbEndpoint) {
	if len(endpoints) == 0 || !c.mixed() {
		return
	}
	metadata := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{socketMatch: chooses(b)}}
	for _, e := range endpoints {
		e.Metadata = metadata
	}
}

func chooses(b backend) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"backend": structpb.NewStringValue(clusterName(b))}}
}

// secrets names what the cluster gets by SDS, sorted.
func (c *clusterUse) secrets() []string {
	var names []string
	for _, b := range c.Backends {
		if b.TLS == nil {
			continue
		}
		if b.TLS.Trust != nil {
			names = append(names, b.TLS.Trust.Name)
		}
		if client := c.client(b); client != "" {
			names = append(names, client)
		}
	}
	names = append(names, c.credentials()...)
	slices.Sort(names)
	return slices.Compact(names)
}

// versions are those of the cluster and of the CA certificates that it trusts. If Envoy rejects one of them, the
// cluster cannot be used.
func (c *clusterUse) versions() []string {
	versions := []string{clusterResource(c).Version}
	for _, b := range c.Backends {
		if b.TLS != nil && b.TLS.Trust != nil {
			versions = append(versions, b.TLS.Trust.Version)
		}
	}
	return versions
}

func clusterSecrets(key string, c *clusterRow) []string {
	fleet, _ := splitKey(key)
	keys := c.Use.secrets()
	for i, name := range keys {
		keys[i] = fleet + "|" + name
	}
	return keys
}

// clusterSecret is what SDS serves to clusters under a name. A client certificate that is deleted, broken or not valid yet
// is not served; running proxies keep the one that they have.
func (t *Tables) clusterSecret(r *flow.Read, key string, members []flow.Row[*clusterRow]) (*Resource, bool) {
	fleet, name := splitKey(key)
	if credential, ok := t.credentialNamed(r, name); ok {
		return credential, credential != nil
	}
	secret, isClient := strings.CutPrefix(name, clientPrefix)
	if !isClient {
		backends := members[0].Value.Use.Backends
		i := slices.IndexFunc(backends, func(b backend) bool {
			return b.TLS != nil && b.TLS.Trust != nil &&
				b.TLS.Trust.Name == name
		})
		return backends[i].TLS.Trust, true
	}
	s, ok := t.in.secrets.Get(r, secret)
	if row, known := t.certs.Get(r, secret); !ok || !known || row.Broken != "" || t.early(r, secret) {
		return nil, false
	}
	res := clientResource(s)
	q, _ := t.quarantines.Get(r, fleet)
	_, rejected := q[res.Version]
	return res, !rejected
}

func clientResource(s *corev1.Secret) *Resource {
	certificate := &tlsv3.TlsCertificate{
		CertificateChain: inlineBytes(s.Data[corev1.TLSCertKey]),
		PrivateKey:       inlineBytes(s.Data[corev1.TLSPrivateKeyKey]),
	}
	breakCertificate(s, certificate)
	return certificateResource(clientPrefix+keyOf(s), certificate)
}
