package backendtls

import (
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/tlssettings"
	"gatehouse/policies/verdict"
)

// maxAuthorities limits the references to CA certificates, as the CRD does.
const maxAuthorities = 8

// CheckBackend reports the problems of spec.tls of a Backend, without the objects that it refers to.
func CheckBackend(b *v1alpha1.Backend) []verdict.Problem {
	own := b.Spec.TLS
	if own == nil {
		return nil
	}
	problems := append(checkSources(own), checkServerName(b)...)
	if ref := own.ClientCertificateRef; ref != nil && elsewhere(b, ref) {
		problems = append(problems, feature.Invalid("spec.tls.clientCertificateRef.namespace",
			"%q is not the namespace of the Backend: remove namespace, and have the Secret in namespace %q", *ref.Namespace,
			b.Namespace))
	}
	if slices.ContainsFunc(b.Spec.AppProtocols, isWebSocket) {
		if i := slices.Index(own.ALPNProtocols, "h2"); i >= 0 {
			problems = append(problems, feature.Invalid(fmt.Sprintf("spec.tls.alpnProtocols[%d]", i),
				"WebSockets of appProtocols need HTTP/1.1, and %q is HTTP/2: remove it", own.ALPNProtocols[i]))
		}
	}
	return append(problems, tlssettings.Check("spec.tls", &own.TLSSettings)...)
}

// elsewhere reports whether a reference names another namespace than that of the Backend. Such references are rejected
// even with a ReferenceGrant, as in Envoy Gateway.
func elsewhere(b *v1alpha1.Backend, ref *gwapiv1.SecretObjectReference) bool {
	return ref.Namespace != nil && *ref.Namespace != "" && string(*ref.Namespace) != b.Namespace
}

func isWebSocket(p v1alpha1.AppProtocol) bool {
	return p == v1alpha1.AppProtocolWS || p == v1alpha1.AppProtocolWSS
}

// checkSources finds what is wrong with whom a Backend trusts. That nobody is trusted is no problem here, because a
// policy may say it.
func checkSources(own *v1alpha1.BackendTLSSettings) (problems []verdict.Problem) {
	known := own.WellKnownCACertificates
	system, named := known != nil && *known != "", len(own.CACertificateRefs) > 0
	if system && *known != gwapiv1.WellKnownCACertificatesSystem {
		problems = append(problems, feature.Invalid("spec.tls.wellKnownCACertificates",
			"%q is not known: write %s, or caCertificateRefs", *known, gwapiv1.WellKnownCACertificatesSystem))
	}
	if system && named {
		problems = append(problems, feature.Invalid("spec.tls.wellKnownCACertificates",
			"the trusted CA certificates come from one source: remove wellKnownCACertificates or caCertificateRefs"))
	}
	if len(own.CACertificateRefs) > maxAuthorities {
		problems = append(problems, feature.Invalid("spec.tls.caCertificateRefs",
			"%d references are too many: write %d or less", len(own.CACertificateRefs), maxAuthorities))
	}
	if own.InsecureSkipVerify != nil && *own.InsecureSkipVerify && (system || named) {
		problems = append(problems, feature.Invalid("spec.tls.insecureSkipVerify",
			"with insecureSkipVerify nothing is verified, so CA certificates have no effect: remove insecureSkipVerify, or "+
				"caCertificateRefs and wellKnownCACertificates"))
	}
	return problems
}

func checkServerName(b *v1alpha1.Backend) (problems []verdict.Problem) {
	own := b.Spec.TLS
	if own.SNI != nil {
		_, notAddress := netip.ParseAddr(string(*own.SNI))
		if len(validation.IsDNS1123Subdomain(string(*own.SNI))) > 0 || notAddress == nil {
			problems = append(problems, feature.Invalid("spec.tls.sni",
				"%q is not a DNS name: write one such as api.example.com, or remove sni", *own.SNI))
		}
	}
	if !asked(own) {
		return problems
	}
	field := "spec.tls.autoSNIFromEndpointHostname"
	if own.SNI != nil {
		problems = append(problems, feature.Invalid(field, "there is one server name: remove sni, or "+
			"autoSNIFromEndpointHostname"))
	}
	if b.Spec.Type != nil && *b.Spec.Type == v1alpha1.BackendTypeDynamicResolver {
		return append(problems, feature.Invalid(field, "type DynamicResolver has no endpoints with a host name of their own, "+
			"and takes the server name from each request: remove autoSNIFromEndpointHostname"))
	}
	for i, e := range b.Spec.Endpoints {
		if e.FQDN == nil && (e.Hostname == nil || *e.Hostname == "") {
			problems = append(problems, feature.Invalid(fmt.Sprintf("spec.endpoints[%d].hostname", i),
				"autoSNIFromEndpointHostname takes the server name from the endpoint, and this one has none: write hostname, or "+
					"write sni"))
		}
	}
	return problems
}

// NeedsOfBackend lists what spec.tls of a Backend refers to, with fields relative to spec.
func NeedsOfBackend(b *v1alpha1.Backend) (needs []feature.Need) {
	if b.Spec.TLS == nil {
		return nil
	}
	needs = AuthoritiesOf(b.Spec.TLS)
	if ref := b.Spec.TLS.ClientCertificateRef; ref != nil && !elsewhere(b, ref) {
		needs = append(needs, feature.Need{Field: "tls.clientCertificateRef", Certificate: ref})
	}
	return needs
}

// AuthoritiesOf is the need for the CA certificates that a Backend names, nil if it names none.
func AuthoritiesOf(own *v1alpha1.BackendTLSSettings) []feature.Need {
	if len(own.CACertificateRefs) == 0 {
		return nil
	}
	authorities := &feature.Authorities{InvalidKind: string(gwapiv1.PolicyReasonInvalid)}
	for _, ref := range own.CACertificateRefs {
		authorities.Refs = append(authorities.Refs, verdict.Ref{
			Group: string(ref.Group), Kind: string(ref.Kind), Name: string(ref.Name),
		})
	}
	return []feature.Need{{Field: "tls.caCertificateRefs", Authorities: authorities}}
}

// Trusts reports whether a Backend says whom to trust, or that nothing is verified.
func Trusts(own *v1alpha1.BackendTLSSettings) bool {
	return len(own.CACertificateRefs) > 0 || own.WellKnownCACertificates != nil && *own.WellKnownCACertificates != "" ||
		own.InsecureSkipVerify != nil && *own.InsecureSkipVerify
}
