package backendtls

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/tlssettings"
)

// Use is how TLS to a backend is used: by a policy, by the backend itself, or by both. What the policy says wins, which
// is who is trusted and for which name.
type Use struct {
	// Policy is a policy that passed Check, nil for none.
	Policy *gwapiv1.BackendTLSPolicy
	// Own is what a Backend says that passed CheckBackend, nil for none.
	Own *v1alpha1.BackendTLSSettings
	// ByEndpoint reports whether the server name is that of each endpoint although the Backend does not say so.
	ByEndpoint bool
}

// Unverified reports whether the certificate of the backend is not verified.
func (u Use) Unverified() bool {
	return u.Policy == nil && u.Own != nil && u.Own.InsecureSkipVerify != nil && *u.Own.InsecureSkipVerify
}

// OfEndpoints reports whether the server name is the host name of each endpoint.
func (u Use) OfEndpoints() bool {
	return u.Policy == nil && u.Own != nil && (u.ByEndpoint || asked(u.Own))
}

// OfRequests reports whether the server name is the host of each request.
func (u Use) OfRequests() bool {
	return u.Policy == nil && u.Own != nil && u.Own.SNI == nil && !u.OfEndpoints()
}

// Names are the names that do not depend on requests and endpoints.
func (u Use) Names() Names {
	switch {
	case u.Policy != nil:
		return namesOf(u.Policy)
	case u.Own.SNI != nil:
		return Names{SNI: string(*u.Own.SNI)}
	}
	return Names{}
}

// asked reports whether a Backend asks for the names of its endpoints.
func asked(own *v1alpha1.BackendTLSSettings) bool {
	return own.AutoSNIFromEndpointHostname != nil && *own.AutoSNIFromEndpointHostname
}

// Credentials are the names of the secrets that Envoy gets by SDS.
type Credentials struct {
	// Authorities are the trusted CA certificates; empty for those of Envoy's system.
	Authorities string
	// Client is the certificate that Envoy presents, empty for none.
	Client string
	// From is the SDS source of the secrets.
	From *corev3.ConfigSource
}

// Context is the TLS configuration of connections to the backends. Envoy verifies the backend by the subject alternative
// names of the policy, or else by the server name. For names of requests the options of the cluster do this. Own
// protocols are offered if the cluster does not speak a certain one.
func (u Use) Context(c Credentials, negotiated bool) *tlsv3.UpstreamTlsContext {
	common := &tlsv3.CommonTlsContext{}
	if c.Client != "" {
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{{Name: c.Client, SdsConfig: c.From}}
	}
	if u.Own != nil {
		common.TlsParams = tlssettings.Parameters(&u.Own.TLSSettings)
		if negotiated {
			for _, protocol := range u.Own.ALPNProtocols {
				common.AlpnProtocols = append(common.AlpnProtocols, string(protocol))
			}
		}
	}
	context := &tlsv3.UpstreamTlsContext{
		CommonTlsContext: common, Sni: u.Names().SNI, AutoHostSni: u.OfEndpoints(),
		AutoSniSanValidation: u.OfEndpoints() && !u.Unverified(),
	}
	if !u.Unverified() {
		u.verify(c, common)
	}
	return context
}

// verify sets whom Envoy trusts, and for which names if they are known.
func (u Use) verify(c Credentials, common *tlsv3.CommonTlsContext) {
	validation := &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: u.matchers()}
	if c.Authorities == "" {
		validation.TrustedCa = &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: systemAuthorities}}
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: validation}
		return
	}
	common.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         validation,
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: c.Authorities, SdsConfig: c.From},
		},
	}
}

func (u Use) matchers() (matchers []*tlsv3.SubjectAltNameMatcher) {
	if u.Policy != nil {
		for _, san := range u.Policy.Spec.Validation.SubjectAltNames {
			if m := matcher(san); m != nil {
				matchers = append(matchers, m)
			}
		}
	}
	if name := u.Names().SNI; len(matchers) == 0 && name != "" {
		matchers = append(matchers, exactly(tlsv3.SubjectAltNameMatcher_DNS, name))
	}
	return matchers
}
