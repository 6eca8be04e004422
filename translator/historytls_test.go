package translator

import (
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/certificate"
)

func (h *history) gatewayTLS() *gwapiv1.GatewayTLSConfig {
	c := &gwapiv1.GatewayTLSConfig{}
	if h.IntN(2) == 0 {
		c.Backend = &gwapiv1.GatewayBackendTLS{ClientCertificateRef: &gwapiv1.SecretObjectReference{
			Name: "s", Namespace: maybe(h, gwapiv1.Namespace(h.namespace())), Kind: maybe(h, pick[gwapiv1.Kind](h, "Secret", "Service")),
		}}
	}
	if h.IntN(2) == 0 {
		validation := &gwapiv1.FrontendTLSValidation{Mode: pick[gwapiv1.FrontendValidationModeType](h, gwapiv1.AllowValidOnly, gwapiv1.AllowInsecureFallback)}
		for range 1 + h.IntN(2) {
			validation.CACertificateRefs = append(validation.CACertificateRefs, gwapiv1.ObjectReference{
				Kind: pick[gwapiv1.Kind](h, "ConfigMap", "ConfigMap", "Secret", "Service"), Name: "s", Namespace: maybe(h, gwapiv1.Namespace(h.namespace())),
			})
		}
		c.Frontend = &gwapiv1.FrontendTLSConfig{Default: gwapiv1.TLSConfig{Validation: pick(h, nil, validation, validation)}}
		if h.IntN(3) == 0 {
			c.Frontend.PerPort = []gwapiv1.TLSPortConfig{{Port: 443, TLS: gwapiv1.TLSConfig{Validation: pick(h, nil, validation)}}}
		}
	}
	return c
}

func (h *history) configMap() Object {
	c := &corev1.ConfigMap{ObjectMeta: h.meta(h.namespace(), "s"), Data: map[string]string{certificate.AuthoritiesKey: pick(h, string(pairs[0]["tls.crt"]), string(pairs[0]["tls.crt"]), string(pairs[1]["tls.crt"]), "no")}}
	c.Generation = 0
	return c
}

func (h *history) backendTLS() Object {
	p := &gwapiv1.BackendTLSPolicy{ObjectMeta: h.meta(h.namespace(), pick(h, "t1", "t2"))}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{SectionName: pick(h, nil, nil, ptr(gwapiv1.SectionName(pick(h, "http", "web"))))}
	target.Kind, target.Name = pick[gwapiv1.Kind](h, "Service", "Service", "Service", "Service", "Service", "HTTPRoute"), gwapiv1.ObjectName(pick(h, "s1", "s2"))
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	p.Spec.Validation.Hostname = gwapiv1.PreciseHostname(pick(h, "a.example.com", "b.example.com"))
	if h.IntN(4) == 0 {
		p.Spec.Validation.WellKnownCACertificates = ptr(gwapiv1.WellKnownCACertificatesSystem)
		return p
	}
	for range 1 + h.IntN(2) {
		p.Spec.Validation.CACertificateRefs = append(p.Spec.Validation.CACertificateRefs, gwapiv1.LocalObjectReference{
			Kind: pick[gwapiv1.Kind](h, "ConfigMap", "ConfigMap", "ConfigMap", "Secret", "Service"), Name: "s",
		})
	}
	return p
}
