// Package clientcertificate is the certificate that Envoy presents to backends with TLS (Gateway API,
// GatewayBackendTLS).
package clientcertificate

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// Feature is tls.backend of a Gateway. Its certificate is for all backends with TLS, unless a policy has another one.
var Feature = feature.Feature[gwapiv1.GatewaySpec]{
	Needs:   needs,
	Cluster: cluster,
	Effective: func(spec *gwapiv1.GatewaySpec, _ feature.Have, e *feature.Effective) {
		for _, need := range needs(spec) {
			e.ClientCertificate = e.Secret(need.Certificate)
		}
	},
}

// field is the path of the reference.
const field = "tls.backend.clientCertificateRef"

func needs(spec *gwapiv1.GatewaySpec) []feature.Need {
	if spec.TLS == nil || spec.TLS.Backend == nil || spec.TLS.Backend.ClientCertificateRef == nil {
		return nil
	}
	return []feature.Need{{Field: field, Certificate: spec.TLS.Backend.ClientCertificateRef}}
}

func cluster(_ *gwapiv1.GatewaySpec, have feature.Have, upstream *feature.Upstream) {
	upstream.Certificate = have.Secrets[field]
}
