package translator

import (
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/certificate"
)

func (h *history) gatewayTLS() *gwapiv1.GatewayTLSConfig {
	c := &gwapiv1.GatewayTLSConfig{}
	if h.IntN(2) == 0 {
		c.Backend = &gwapiv1.GatewayBackendTLS{ClientCertificateRef: &gwapiv1.SecretObjectReference{
			Name: "s", Namespace: maybe(h, gwapiv1.Namespace(h.namespace())),
			Kind: maybe(h, pick[gwapiv1.Kind](h, "Secret", "Service")),
		}}
	}
	if h.IntN(2) == 0 {
		validation := &gwapiv1.FrontendTLSValidation{Mode: pick[gwapiv1.FrontendValidationModeType](h, gwapiv1.AllowValidOnly,
			gwapiv1.AllowInsecureFallback)}
		for range 1 + h.IntN(2) {
			ref := gwapiv1.ObjectReference{
				Kind: pick[gwapiv1.Kind](h, "ConfigMap", "ConfigMap", "Secret", "Service"), Name: "s",
				Namespace: maybe(h, gwapiv1.Namespace(h.namespace())),
			}
			if h.IntN(3) == 0 {
				ref.Group, ref.Kind, ref.Name, ref.Namespace = gwapiv1.Group(ClusterTrustBundles.Group),
					gwapiv1.Kind(ClusterTrustBundles.Kind), pick[gwapiv1.ObjectName](h, "s", "beta"), nil
			}
			validation.CACertificateRefs = append(validation.CACertificateRefs, ref)
		}
		c.Frontend = &gwapiv1.FrontendTLSConfig{Default: gwapiv1.TLSConfig{Validation: pick(h, nil, validation, validation)}}
		if h.IntN(3) == 0 {
			c.Frontend.PerPort = []gwapiv1.TLSPortConfig{{Port: 443, TLS: gwapiv1.TLSConfig{Validation: pick(h, nil,
				validation)}}}
		}
	}
	return c
}

func (h *history) configMap() Object {
	c := &corev1.ConfigMap{
		ObjectMeta: h.meta(h.namespace(), "s"),
		Data: map[string]string{certificate.AuthoritiesKey: pick(h, string(pairs[0]["tls.crt"]), string(pairs[0]["tls.crt"]),
			string(pairs[1]["tls.crt"]), "no")},
	}
	c.Generation = 0
	return c
}

// bundle is of the beta version if it has that name.
func (h *history) bundle() Object {
	b := &certificatesv1beta1.ClusterTrustBundle{ObjectMeta: h.meta("", pick(h, "s", "beta"))}
	b.Spec.TrustBundle = pick(h, string(pairs[0]["tls.crt"]), string(pairs[0]["tls.crt"]), string(pairs[1]["tls.crt"]),
		"no")
	b.Generation = 0
	if b.Name == "beta" {
		return b
	}
	return stableBundle(b)
}

func (h *history) backendTLS() Object {
	p := &gwapiv1.BackendTLSPolicy{ObjectMeta: h.meta(h.namespace(), pick(h, "t1", "t2"))}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{SectionName: pick(h, nil, nil,
		ptr(gwapiv1.SectionName(pick(h, "http", "web"))))}
	target.Kind, target.Name = pick[gwapiv1.Kind](h, "Service", "Service", "Service", "Service", "Service", "HTTPRoute"),
		gwapiv1.ObjectName(pick(h, "s1", "s2"))
	if h.IntN(6) == 0 {
		target.Group, target.Kind, target.Name = v1alpha1.GroupName, v1alpha1.KindBackend,
			gwapiv1.ObjectName(pick(h, "b1", "b2"))
		target.SectionName = maybe(h, pick[gwapiv1.SectionName](h, "8080", "9090"))
	}
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	p.Spec.Validation.Hostname = gwapiv1.PreciseHostname(pick(h, "a.example.com", "b.example.com"))
	if h.IntN(4) == 0 {
		p.Spec.Validation.WellKnownCACertificates = ptr(gwapiv1.WellKnownCACertificatesSystem)
		return p
	}
	for range 1 + h.IntN(2) {
		ref := gwapiv1.LocalObjectReference{Kind: pick[gwapiv1.Kind](h, "ConfigMap", "ConfigMap", "ConfigMap", "Secret",
			"Service"), Name: "s"}
		if h.IntN(4) == 0 {
			ref.Group, ref.Kind, ref.Name = gwapiv1.Group(ClusterTrustBundles.Group), gwapiv1.Kind(ClusterTrustBundles.Kind),
				pick[gwapiv1.ObjectName](h, "s", "beta")
		}
		p.Spec.Validation.CACertificateRefs = append(p.Spec.Validation.CACertificateRefs, ref)
	}
	return p
}
