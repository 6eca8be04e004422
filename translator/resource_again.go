package translator

import (
	"bytes"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	quicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Fields of Envoy's Secret, of its kinds of content and of DataSource.
const (
	fieldTLSCertificate    protowire.Number = 2
	fieldValidationContext protowire.Number = 4
	fieldCertificateChain  protowire.Number = 1 // Of TlsCertificate; CertificateValidationContext has trusted_ca there.
	fieldInlineBytes       protowire.Number = 2
)

// Again returns the resource in other bytes that mean the same. It is for types whose rejected bytes Envoy remembers:
// it acknowledges the same bytes when they are sent again, but they do not take effect. Different marks give different
// bytes, and the version stays the same. A mark consists of letters, digits and hyphens. Resources of other types, and
// secrets without PEM, are returned as they are.
func (r *Resource) Again(mark string) *Resource {
	switch r.Type {
	case typeScopes:
		return r.with(markedScope(r.Name, mark))
	case typeSecret:
		return r.with(markedSecret(r.Body(), mark))
	default:
		return r
	}
}

// with is the resource with fields appended. If a message is given twice, Envoy merges the fields, and the last one
// counts.
func (r *Resource) with(fields []byte) *Resource {
	if fields == nil {
		return r
	}
	again := *r
	again.Pieces = append(slices.Clone(r.Pieces), fields)
	return &again
}

// markedSecret repeats the PEM of a secret with a line behind it. Text outside of PEM's blocks has no meaning (RFC
// 7468, section 2).
func markedSecret(body []byte, mark string) (fields []byte) {
	each(body, func(kind protowire.Number, _, content []byte) {
		if kind != fieldTLSCertificate && kind != fieldValidationContext {
			return
		}
		each(content, func(field protowire.Number, _, source []byte) {
			if field != fieldCertificateChain {
				return
			}
			each(source, func(field protowire.Number, _, pem []byte) {
				if field == fieldInlineBytes {
					marked := slices.Concat(pem, []byte("\nsent as "+mark+"\n"))
					fields = appendMessage(nil, kind, appendMessage(nil, fieldCertificateChain,
						appendMessage(nil, fieldInlineBytes, marked)))
				}
			})
		})
	})
	return fields
}

// Joins reports whether one part of the resource, a filter chain or a cluster, needs both secrets.
func (r *Resource) Joins(one, other string) bool {
	if !slices.Contains(r.Needs, Name{typeSecret, one}) || !slices.Contains(r.Needs, Name{typeSecret, other}) {
		return false
	}
	for _, p := range r.Parts() {
		if namesSecret(p.body, one) && namesSecret(p.body, other) {
			return true
		}
	}
	return false
}

// namesSecret reports whether a message has an SdsSecretConfig with the name in it, at any depth.
func namesSecret(body []byte, name string) bool {
	return bytes.Contains(body, protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name))
}

// Detached is a listener with filter chains that name others, which nobody publishes, in place of the secrets: a chain
// goes on without the secret, as it does if that was never there. Its version is that of the listener, a slash, and a
// hash.
func (r *Resource) Detached(secrets map[Name]bool) *Resource {
	l := &listenerv3.Listener{}
	if r.Type != typeListener || proto.Unmarshal(r.Body(), l) != nil {
		return r
	}
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(slices.Clone(chains), l.DefaultFilterChain)
	}
	for _, chain := range chains {
		detach(chain, secrets)
	}
	body := encode(l)
	needs := slices.Clone(r.Needs)
	for i, n := range needs {
		if secrets[n] {
			needs[i].Name = detachedName(n.Name)
		}
	}
	return &Resource{
		Type: r.Type, Name: r.Name, Version: r.Version + "/" + hash(body, 8), Pieces: [][]byte{body},
		Needs: needs,
	}
}

func detachedName(secret string) string { return "detached/" + secret }

func detach(chain *listenerv3.FilterChain, secrets map[Name]bool) {
	config := chain.GetTransportSocket().GetTypedConfig()
	if config == nil {
		return // Not TLS.
	}
	context, quic := &tlsv3.DownstreamTlsContext{}, &quicv3.QuicDownstreamTransport{}
	overQUIC := config.UnmarshalTo(quic) == nil
	if overQUIC {
		context = quic.DownstreamTlsContext
	} else if config.UnmarshalTo(context) != nil {
		return
	}
	common := context.GetCommonTlsContext()
	sources := slices.Clone(common.GetTlsCertificateSdsSecretConfigs())
	sources = append(sources, common.GetValidationContextSdsSecretConfig(),
		common.GetCombinedValidationContext().GetValidationContextSdsSecretConfig())
	for _, source := range sources {
		if secrets[Name{typeSecret, source.GetName()}] {
			source.Name = detachedName(source.Name)
		}
	}
	if overQUIC {
		chain.TransportSocket = quicSocket(context)
	} else {
		chain.TransportSocket = tlsSocket(packed(context))
	}
}
