package translator

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"gatehouse/policies/feature"
)

// TestSecretAgain: a secret that is sent again has a line behind its PEM and differs in nothing else.
func TestSecretAgain(t *testing.T) {
	source := func(text string) *corev3.DataSource { return inlineBytes([]byte(text)) }
	for name, secret := range map[string]func(pem string) *tlsv3.Secret{
		"certificate": func(pem string) *tlsv3.Secret {
			return &tlsv3.Secret{Name: "n/s", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
				CertificateChain: source(pem), PrivateKey: source("key"), OcspStaple: source("staple"),
			}}}
		},
		"authorities": func(pem string) *tlsv3.Secret {
			return &tlsv3.Secret{
				Name: "n/s",
				Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
					TrustedCa: source(pem), Crl: source("revoked"), AllowExpiredCertificate: true,
				}},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := resource(secret("pem"), "n/s")
			again := r.Again("x-1")
			got := &tlsv3.Secret{}
			if err := proto.Unmarshal(again.Body(), got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(secret("pem\nsent as x-1\n"), got, protocmp.Transform()); diff != "" ||
				again.Version != r.Version {
				t.Errorf("the secret again (-want +got):\n%s", diff)
			}
		})
	}
}

func tlsContext(authorities string, names ...string) *corev3.TransportSocket {
	common := &tlsv3.CommonTlsContext{}
	for _, name := range names {
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs,
			&tlsv3.SdsSecretConfig{Name: name, SdsConfig: feature.OverADS()})
	}
	if authorities != "" {
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: authorities, SdsConfig: feature.OverADS()},
		}
	}
	return tlsSocket(packed(&tlsv3.DownstreamTlsContext{CommonTlsContext: common}))
}

func tlsListenerOf(chains ...*corev3.TransportSocket) *listenerv3.Listener {
	l := &listenerv3.Listener{Name: "n/g/l"}
	for _, chain := range chains {
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{TransportSocket: chain})
	}
	return l
}

// TestDetached: filter chains go on without the secrets, and all else stays.
func TestDetached(t *testing.T) {
	needs := []Name{{typeSecret, "n/a"}, {typeSecret, "n/ab"}, {typeSecret, "ca"}}
	overQUIC := func(name string) *corev3.TransportSocket {
		return quicSocket(&tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: name, SdsConfig: feature.OverADS()}},
		}})
	}
	r := resource(tlsListenerOf(tlsContext("", "n/a", "n/ab"), tlsContext("ca", "n/ab"), nil, overQUIC("n/a")), "n/g/l",
		needs...)
	out := r.Detached(map[Name]bool{{typeSecret, "n/a"}: true, {typeSecret, "ca"}: true})
	got := &listenerv3.Listener{}
	if err := proto.Unmarshal(out.Body(), got); err != nil {
		t.Fatal(err)
	}
	want := tlsListenerOf(tlsContext("", "detached/n/a", "n/ab"), tlsContext("detached/ca", "n/ab"), nil,
		overQUIC("detached/n/a"))
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("the listener (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Name{{typeSecret, "detached/n/a"}, {typeSecret, "n/ab"}, {typeSecret, "detached/ca"}},
		out.Needs); diff != "" {
		t.Errorf("what it needs (-want +got):\n%s", diff)
	}
	if version, _, _ := strings.Cut(out.Version, "/"); version != r.Version || out.Version == r.Version {
		t.Errorf("the version of %s has become %s", r.Version, out.Version)
	}
	if !r.Joins("n/a", "n/ab") || !r.Joins("n/ab", "ca") || r.Joins("n/a", "ca") || r.Joins("n/a", "n/other") {
		t.Error("the secrets of the filter chains are mixed up")
	}
}
