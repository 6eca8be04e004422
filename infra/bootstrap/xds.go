package bootstrap

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	injectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// connectTimeout is the limit for connecting, refreshInterval is how often the heap is measured.
const (
	connectTimeout  = 10 * time.Second
	refreshInterval = 250 * time.Millisecond
)

// Envoy sends keepalives on an idle connection to the control plane, so that it notices a control plane that
// disappeared within keepaliveInterval + keepaliveTimeout.
const (
	keepaliveInterval = 30 * time.Second
	keepaliveTimeout  = 5 * time.Second
)

// xdsCluster is the cluster for the control plane: TLS, verified by the CA of Files and by the control plane's name,
// with the proxy's token in every request.
func xdsCluster(s Settings) (*clusterv3.Cluster, error) {
	protocol, err := xdsProtocol(s)
	if err != nil {
		return nil, err
	}
	tls, err := xdsTLS(s)
	if err != nil {
		return nil, err
	}
	return &clusterv3.Cluster{
		Name:                 XDSCluster,
		ConnectTimeout:       durationpb.New(connectTimeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS},
		DnsLookupFamily:      clusterv3.Cluster_V4_PREFERRED,
		LoadAssignment:       oneEndpoint(XDSCluster, absolute(s.XDSHost), s.XDSPort),
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveTime:     wrapperspb.UInt32(uint32(keepaliveInterval.Seconds())),
			KeepaliveInterval: wrapperspb.UInt32(uint32(keepaliveTimeout.Seconds())),
			KeepaliveProbes:   wrapperspb.UInt32(3),
		}},
		TransportSocket: &corev3.TransportSocket{
			Name:       "envoy.transport_sockets.tls",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: tls},
		},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol,
		},
	}, nil
}

// xdsProtocol is HTTP/2 with the filter that adds "authorization: Bearer <token>". Without a token Envoy sends no
// request.
func xdsProtocol(s Settings) (*anypb.Any, error) {
	credential, err := typed(&genericv3.Generic{
		Credential:        fileSecret(s, tokenSecret),
		HeaderValuePrefix: "Bearer ",
	})
	if err != nil {
		return nil, err
	}
	injector, err := typed(&injectorv3.CredentialInjector{
		Overwrite: true,
		Credential: &corev3.TypedExtensionConfig{
			Name:        "envoy.http.injected_credentials.generic",
			TypedConfig: credential,
		},
	})
	if err != nil {
		return nil, err
	}
	codec, err := typed(&codecv3.UpstreamCodec{})
	if err != nil {
		return nil, err
	}
	return typed(&upstreamhttpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
						Interval: durationpb.New(keepaliveInterval),
						Timeout:  durationpb.New(keepaliveTimeout),
					}},
				},
			},
		},
		HttpFilters: []*hcmv3.HttpFilter{
			{Name: "envoy.filters.http.credential_injector", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: injector}},
			{Name: "envoy.filters.http.upstream_codec", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: codec}},
		},
	})
}

func xdsTLS(s Settings) (*anypb.Any, error) {
	names := &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_DNS,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s.XDSHost}},
	}
	sni := s.XDSHost
	if _, err := netip.ParseAddr(s.XDSHost); err == nil {
		names.SanType, sni = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, ""
	}
	return typed(&tlsv3.UpstreamTlsContext{
		Sni: sni,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: &tlsv3.TlsParameters{
				TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
				TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			},
			AlpnProtocols: []string{"h2"},
			ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
				CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
					DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{names}},
					ValidationContextSdsSecretConfig: fileSecret(s, caSecret),
				},
			},
		},
	})
}

// The files of Files. Their names are also the names of the secrets in them.
const (
	caFile      = "ca.crt"
	caSecret    = "xds-ca"
	tokenSecret = "xds-token"
)

// Files returns the contents of the directory ConfigDir by file name: the CA certificates (PEM) of the control plane,
// and the descriptions of the secrets that Envoy reads from files. Envoy reloads them while it runs, if the directory
// is changed by a rename, as kubelet does.
func Files(s Settings, ca []byte) (map[string]string, error) {
	trusted := &tlsv3.Secret{Name: caSecret, Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path.Join(s.ConfigDir,
				caFile)}},
			WatchedDirectory: &corev3.WatchedDirectory{Path: s.ConfigDir},
		},
	}}
	token := &tlsv3.Secret{Name: tokenSecret, Type: &tlsv3.Secret_GenericSecret{
		GenericSecret: &tlsv3.GenericSecret{Secret: &corev3.DataSource{
			Specifier:        &corev3.DataSource_Filename{Filename: s.TokenFile},
			WatchedDirectory: &corev3.WatchedDirectory{Path: path.Dir(s.TokenFile)},
		}},
	}}
	files := map[string]string{caFile: string(ca)}
	for _, secret := range []*tlsv3.Secret{trusted, token} {
		content, err := secretFile(secret)
		if err != nil {
			return nil, err
		}
		files[secretFileName(secret.GetName())] = content
	}
	return files, nil
}

// secretFile is a discovery response with one secret, which is the format of Envoy's secret files.
func secretFile(secret *tlsv3.Secret) (string, error) {
	content, err := typed(secret)
	if err != nil {
		return "", err
	}
	text, err := stableJSON(proto.Message(content))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`{"resources":[%s]}`, text), nil
}

func secretFileName(secret string) string { return secret + ".json" }

// fileSecret refers to a secret that is described by a file in ConfigDir.
func fileSecret(s Settings, name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{
		Name: name,
		SdsConfig: &corev3.ConfigSource{
			ResourceApiVersion: corev3.ApiVersion_V3,
			ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{
				Path:             path.Join(s.ConfigDir, secretFileName(name)),
				WatchedDirectory: &corev3.WatchedDirectory{Path: s.ConfigDir},
			}},
		},
	}
}

// absolute adds a dot to a DNS name, so that the resolver does not try the search domains of the pod. An address stays
// as it is, and so does a name with one label, such as localhost.
func absolute(host string) string {
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return host
	}
	return host + "."
}
