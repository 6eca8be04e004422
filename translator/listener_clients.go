package translator

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// clientValidation is how a listener verifies the certificates of its clients.
type clientValidation struct {
	// Trust are the CA certificates, nil if none can be used. Then the listener is not served.
	Trust *Resource
	// Fallback admits clients without a certificate, or with an invalid one.
	Fallback bool
}

func (c *clientValidation) equal(o *clientValidation) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.Fallback == o.Fallback && equalResources(c.Trust, o.Trust)
}

// validationOf finds the Gateway's setting for a port, and its field. The setting of the port replaces the default as a
// whole (Gateway API, FrontendTLSConfig).
func validationOf(g *gwapiv1.Gateway, port gwapiv1.PortNumber) (*gwapiv1.FrontendTLSValidation, string) {
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil {
		return nil, ""
	}
	for i, p := range g.Spec.TLS.Frontend.PerPort {
		if p.Port == port {
			return p.TLS.Validation, fmt.Sprintf("spec.tls.frontend.perPort[%d].tls.validation", i)
		}
	}
	return g.Spec.TLS.Frontend.Default.Validation, "spec.tls.frontend.default.validation"
}

// clientAuthorities are the CA certificates that a setting of the Gateway refers to.
func clientAuthorities(g *gwapiv1.Gateway, v *gwapiv1.FrontendTLSValidation) (refs []verdict.Ref) {
	if v == nil {
		return nil
	}
	for _, ref := range v.CACertificateRefs {
		refs = append(refs, authorityRef(string(ref.Group), string(ref.Kind), string(deref(ref.Namespace)), g.Namespace,
			string(ref.Name)))
	}
	return refs
}

// validateClients resolves how the listener, which terminates TLS, verifies its clients.
func (t *Tables) validateClients(r *flow.Read, l *listenerRow) {
	g := l.Gateway.Gateway
	validation, field := validationOf(g, l.Spec.Port)
	if validation == nil {
		return
	}
	refs := authorityRefs{
		Use: "frontend", Field: field + ".caCertificateRefs", From: gatewayRef(g),
		InvalidKind: string(gwapiv1.ListenerReasonInvalidCACertificateKind),
		Refs:        clientAuthorities(g, validation),
	}
	trust, problems := t.trust(r, refs)
	if trust != nil {
		q, _ := t.quarantines.Get(r, l.fleet())
		if p := q.rejectedSecret(string(gwapiv1.ListenerReasonInvalidCACertificateRef), "the list", trust.Version); p != nil {
			p.Field, p.Condition = refs.Field, string(gwapiv1.ListenerConditionResolvedRefs)
			trust, problems = nil, append(problems, *p)
		}
	}
	for _, p := range problems {
		if l.Set != nil {
			p.Field = "spec.parentRef" // It is the Gateway's setting.
		}
		l.problem(p)
	}
	l.Clients = &clientValidation{Trust: trust, Fallback: validation.Mode == gwapiv1.AllowInsecureFallback}
}

// trusts reports whether the listener can verify its clients as required.
func (l *listenerRow) trusts() bool { return l.Clients == nil || l.Clients.Trust != nil }

// distrusted is the condition Accepted of a listener without any CA certificate. It is False, and its message says why
// there is none.
func (l *listenerRow) distrusted(accepted metav1.Condition, unresolved []verdict.Problem) metav1.Condition {
	if l.trusts() || accepted.Status != metav1.ConditionTrue {
		return accepted
	}
	accepted = status.Condition(accepted.Type, "", "", unresolved)
	accepted.Reason = string(gwapiv1.ListenerReasonNoValidCACertificate)
	return accepted
}

// judge sets what the TLS context requires of clients.
func (c *clientValidation) judge(context *tlsv3.DownstreamTlsContext, from *corev3.ConfigSource) {
	if c == nil {
		return
	}
	validation := &tlsv3.CertificateValidationContext{}
	if c.Fallback {
		validation.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	}
	context.RequireClientCertificate = wrapperspb.Bool(!c.Fallback)
	context.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         validation,
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: c.Trust.Name, SdsConfig: from},
		},
	}
}

// insecureFallback is the condition of a Gateway that admits clients without a valid certificate on some port, nil if
// it does not.
func insecureFallback(g *gwapiv1.Gateway) *metav1.Condition {
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil {
		return nil
	}
	frontend := g.Spec.TLS.Frontend
	lax := func(v *gwapiv1.FrontendTLSValidation) bool {
		return v != nil && v.Mode == gwapiv1.AllowInsecureFallback
	}
	field := ""
	if lax(frontend.Default.Validation) {
		field = "spec.tls.frontend.default.validation.mode"
	}
	for i := range frontend.PerPort {
		if field == "" && lax(frontend.PerPort[i].TLS.Validation) {
			field = fmt.Sprintf("spec.tls.frontend.perPort[%d].tls.validation.mode", i)
		}
	}
	if field == "" {
		return nil
	}
	return &metav1.Condition{
		Type: string(gwapiv1.GatewayConditionInsecureFrontendValidationMode), Status: metav1.ConditionTrue,
		Reason:  string(gwapiv1.GatewayReasonConfigurationChanged),
		Message: "Clients are let in without a valid certificate, as " + field + " says: write AllowValidOnly to ask for one",
	}
}
