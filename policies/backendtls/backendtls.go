// Package backendtls is BackendTLSPolicy of Gateway API: how Envoy uses TLS to a backend and how it verifies the
// backend.
package backendtls

import (
	"fmt"
	"maps"
	"slices"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Kind is the name of the kind.
const Kind = "BackendTLSPolicy"

// ConditionOptions is the condition that is False on a policy with options, because no option is served. The rest of
// the policy takes effect.
const ConditionOptions = "OptionsServed"

// systemAuthorities is the file with the CA certificates of the system in Envoy's image.
const systemAuthorities = "/etc/ssl/certs/ca-certificates.crt"

// Check reports the problems of the policy itself, without its targets and the objects that it refers to.
func Check(p *gwapiv1.BackendTLSPolicy) []verdict.Problem {
	var problems []verdict.Problem
	v := &p.Spec.Validation
	known := v.WellKnownCACertificates
	switch {
	case len(v.CACertificateRefs) == 0 && (known == nil || *known == ""):
		problems = append(problems, feature.Invalid("spec.validation",
			"nothing says which CA certificates are trusted: write caCertificateRefs, or wellKnownCACertificates: System"))
	case len(v.CACertificateRefs) == 0 && *known != gwapiv1.WellKnownCACertificatesSystem:
		problems = append(problems, feature.Invalid("spec.validation.wellKnownCACertificates",
			"%q is not known: write %s, or caCertificateRefs", *known, gwapiv1.WellKnownCACertificatesSystem))
	}
	if v.Hostname == "" {
		problems = append(problems, feature.Invalid("spec.validation.hostname",
			"the name is empty: write the name that the backend's certificate is for"))
	}
	for i, san := range v.SubjectAltNames {
		if matcher(san) == nil {
			problems = append(problems, feature.Invalid(fmt.Sprintf("spec.validation.subjectAltNames[%d]", i),
				"type %q with no value of that type: write type Hostname and hostname, or type URI and uri", san.Type))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.Spec.Options)) {
		problems = append(problems, verdict.Problem{
			Field: fmt.Sprintf("spec.options[%s]", key), Reason: string(gwapiv1.PolicyReasonInvalid),
			Condition: ConditionOptions, Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%q is not served and has no effect: remove it", p.Spec.Options[key]),
		})
	}
	return problems
}

// Needs lists what the policy refers to, its targets apart. Without CA certificates, those of Envoy's system are
// trusted.
func Needs(p *gwapiv1.BackendTLSPolicy) []feature.Need {
	refs := p.Spec.Validation.CACertificateRefs
	if len(refs) == 0 {
		return nil
	}
	authorities := &feature.Authorities{InvalidKind: string(gwapiv1.BackendTLSPolicyReasonInvalidKind)}
	for _, ref := range refs {
		authorities.Refs = append(authorities.Refs, verdict.Ref{
			Group: string(ref.Group), Kind: string(ref.Kind),
			Name: string(ref.Name),
		})
	}
	return []feature.Need{{Field: "validation.caCertificateRefs", Authorities: authorities}}
}

// Names are what is sent to a backend as SNI, and what its certificate must be for.
type Names struct {
	// SNI is the name of the server. The certificate must be for it if Hosts and URIs are empty. If all are empty, the
	// name is the host of the request.
	SNI string
	// Hosts and URIs are subject alternative names, of which the certificate must have one.
	Hosts, URIs []string
}

// Equal reports whether both have the same names.
func (n Names) Equal(o Names) bool {
	return n.SNI == o.SNI && slices.Equal(n.Hosts, o.Hosts) && slices.Equal(n.URIs, o.URIs)
}

// namesOf are the names of a policy that passed Check.
func namesOf(p *gwapiv1.BackendTLSPolicy) Names {
	names := Names{SNI: string(p.Spec.Validation.Hostname)}
	for _, san := range p.Spec.Validation.SubjectAltNames {
		switch m := matcher(san); {
		case m == nil:
		case san.Type == gwapiv1.HostnameSubjectAltNameType:
			names.Hosts = append(names.Hosts, string(san.Hostname))
		default:
			names.URIs = append(names.URIs, string(san.URI))
		}
	}
	return names
}

// matcher returns nil for a name whose type and value do not match.
func matcher(san gwapiv1.SubjectAltName) *tlsv3.SubjectAltNameMatcher {
	switch {
	case san.Type == gwapiv1.HostnameSubjectAltNameType && san.Hostname != "":
		return exactly(tlsv3.SubjectAltNameMatcher_DNS, string(san.Hostname))
	case san.Type == gwapiv1.URISubjectAltNameType && san.URI != "":
		return exactly(tlsv3.SubjectAltNameMatcher_URI, string(san.URI))
	}
	return nil
}

func exactly(kind tlsv3.SubjectAltNameMatcher_SanType, name string) *tlsv3.SubjectAltNameMatcher {
	return &tlsv3.SubjectAltNameMatcher{SanType: kind, Matcher: feature.Exactly(name)}
}
