package clienttls

import (
	"bytes"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	validation  = "tls.clientValidation"
	authorities = validation + ".caCertificateRefs"
	revocations = validation + ".crl.refs"
)

// mode is what is asked of clients.
type mode struct {
	// require refuses clients without a certificate, verify those whose certificate no trusted authority has issued.
	require, verify bool
}

var modes = map[v1alpha1.ClientValidationMode]mode{
	v1alpha1.ClientValidationRequest:          {},
	v1alpha1.ClientValidationRequireAny:       {require: true},
	v1alpha1.ClientValidationVerifyIfGiven:    {verify: true},
	v1alpha1.ClientValidationRequireAndVerify: {require: true, verify: true},
}

// modeOf is the strictest mode if the spec has one that does not exist.
func modeOf(v *v1alpha1.ClientValidationContext) mode {
	if m, ok := modes[nameOf(v)]; ok {
		return m
	}
	return modes[v1alpha1.ClientValidationRequireAndVerify]
}

func nameOf(v *v1alpha1.ClientValidationContext) v1alpha1.ClientValidationMode {
	switch {
	case v.Mode != nil:
		return *v.Mode
	case v.Optional:
		return v1alpha1.ClientValidationVerifyIfGiven
	}
	return v1alpha1.ClientValidationRequireAndVerify
}

func needs(spec *v1alpha1.ClientTrafficPolicySpec) []feature.Need {
	if spec.TLS == nil || spec.TLS.ClientValidation == nil {
		return nil
	}
	var needs []feature.Need
	v := spec.TLS.ClientValidation
	if len(v.CACertificateRefs) > 0 {
		trusted := &feature.Authorities{InvalidKind: string(gwapiv1.PolicyReasonInvalid)}
		for _, ref := range v.CACertificateRefs {
			trusted.Refs = append(trusted.Refs, referred(&ref))
		}
		needs = append(needs, feature.Need{Field: authorities, Authorities: trusted})
	}
	if v.CRL != nil {
		for i := range v.CRL.Refs {
			content := feature.SecretContent(&v.CRL.Refs[i], revocationsKey, checkRevocations)
			content.Lifetimes = lifetimes
			if content.RefKind == "ConfigMap" {
				content.Kind = content.RefKind
			}
			needs = append(needs, feature.Need{Field: listOf(i), Content: content})
		}
	}
	return needs
}

// listOf is the field of a reference to lists of revoked certificates.
func listOf(i int) string { return fmt.Sprintf("%s[%d]", revocations, i) }

func referred(ref *gwapiv1.SecretObjectReference) verdict.Ref {
	return verdict.Ref{
		Group: string(ptr.Deref(ref.Group, "")), Kind: string(ptr.Deref(ref.Kind, "Secret")),
		Namespace: string(ptr.Deref(ref.Namespace, "")), Name: string(ref.Name),
	}
}

// validate says which certificates of clients are accepted.
func validate(v *v1alpha1.ClientValidationContext, have feature.Have, l *feature.Listener) {
	if v == nil {
		return
	}
	asked := modeOf(v)
	l.TLS.RequireClientCertificate = wrapperspb.Bool(asked.require)
	context := &tlsv3.CertificateValidationContext{
		VerifyCertificateSpki: v.SPKIHashes, VerifyCertificateHash: v.CertificateHashes,
		MatchTypedSubjectAltNames: names(v.SubjectAltNames), AllowExpiredCertificate: v.AllowExpiredCertificate,
	}
	if !asked.verify {
		context.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		if asked.require {
			l.Chain.Filters = append(l.Chain.Filters, anyCertificate)
		}
	}
	if trusted := have.Content[authorities]; len(trusted) > 0 {
		context.TrustedCa = inline(trusted)
	}
	if v.CRL != nil {
		var lists [][]byte
		for i := range v.CRL.Refs {
			lists = append(lists, bytes.TrimSpace(have.Content[listOf(i)]))
		}
		context.Crl = inline(append(bytes.Join(lists, []byte("\n")), '\n'))
		context.OnlyVerifyLeafCertCrl = ptr.Deref(v.CRL.OnlyVerifyLeafCertificate, false)
	}
	l.Clients = context
}

// anyCertificate closes connections of clients without a certificate. Envoy itself does not, if it accepts any.
var anyCertificate = &listenerv3.Filter{
	Name: "envoy.filters.network.rbac",
	ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: feature.Any(&rbacv3.RBAC{
		StatPrefix: "client-certificates",
		Rules: &rbacconfigv3.RBAC{Policies: map[string]*rbacconfigv3.Policy{"any": {
			Permissions: []*rbacconfigv3.Permission{{Rule: &rbacconfigv3.Permission_Any{Any: true}}},
			Principals: []*rbacconfigv3.Principal{{Identifier: &rbacconfigv3.Principal_Authenticated_{
				Authenticated: &rbacconfigv3.Principal_Authenticated{PrincipalName: feature.Matching(".+")},
			}}},
		}}},
	})},
}

func inline(content []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: content}}
}

// san is one kind of subject alternative names.
type san struct {
	field   string
	kind    tlsv3.SubjectAltNameMatcher_SanType
	matches []v1alpha1.StringMatch
}

func sans(s *v1alpha1.SubjectAltNames) []san {
	return []san{
		{"dnsNames", tlsv3.SubjectAltNameMatcher_DNS, s.DNSNames},
		{"emailAddresses", tlsv3.SubjectAltNameMatcher_EMAIL, s.EmailAddresses},
		{"ipAddresses", tlsv3.SubjectAltNameMatcher_IP_ADDRESS, s.IPAddresses},
		{"uris", tlsv3.SubjectAltNameMatcher_URI, s.URIs},
	}
}

func names(s *v1alpha1.SubjectAltNames) (out []*tlsv3.SubjectAltNameMatcher) {
	if s == nil {
		return nil
	}
	add := func(kind tlsv3.SubjectAltNameMatcher_SanType, match *v1alpha1.StringMatch, oid string) {
		matcher := feature.StringMatcher(match)
		if matcher == nil {
			matcher = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{}}
		}
		out = append(out, &tlsv3.SubjectAltNameMatcher{SanType: kind, Matcher: matcher, Oid: oid})
	}
	for _, kind := range sans(s) {
		for i := range kind.matches {
			add(kind.kind, &kind.matches[i], "")
		}
	}
	for i := range s.OtherNames {
		add(tlsv3.SubjectAltNameMatcher_OTHER_NAME, &s.OtherNames[i].StringMatch, s.OtherNames[i].OID)
	}
	return out
}

func effective(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
	if spec.TLS == nil || spec.TLS.ClientValidation == nil {
		return
	}
	v := spec.TLS.ClientValidation
	told := &feature.ClientCertificates{Mode: string(nameOf(v))}
	for i := range v.CACertificateRefs {
		told.Authorities = append(told.Authorities, *e.Secret(&v.CACertificateRefs[i]))
	}
	if v.CRL != nil {
		for i := range v.CRL.Refs {
			told.Revocations = append(told.Revocations, *e.Secret(&v.CRL.Refs[i]))
		}
	}
	e.OfClients().Certificates = told
}
