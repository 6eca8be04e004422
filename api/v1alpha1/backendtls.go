package v1alpha1

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// BackendTLSSettings says how TLS to the endpoints of a Backend is used, and how the endpoints are verified.
//
// +kubebuilder:validation:XValidation:rule="!has(self.caCertificateRefs) || self.caCertificateRefs.size() == 0 || !has(self.wellKnownCACertificates) || size(self.wellKnownCACertificates) == 0",fieldPath=".wellKnownCACertificates",message="the trusted CA certificates come from one source: remove wellKnownCACertificates or caCertificateRefs"
// +kubebuilder:validation:XValidation:rule="!has(self.insecureSkipVerify) || !self.insecureSkipVerify || ((!has(self.caCertificateRefs) || self.caCertificateRefs.size() == 0) && (!has(self.wellKnownCACertificates) || size(self.wellKnownCACertificates) == 0))",fieldPath=".insecureSkipVerify",message="with insecureSkipVerify nothing is verified, so CA certificates have no effect: remove insecureSkipVerify, or caCertificateRefs and wellKnownCACertificates"
// +kubebuilder:validation:XValidation:rule="!has(self.sni) || !has(self.autoSNIFromEndpointHostname) || !self.autoSNIFromEndpointHostname",fieldPath=".autoSNIFromEndpointHostname",message="there is one server name: remove sni, or autoSNIFromEndpointHostname"
type BackendTLSSettings struct {
	// CACertificateRefs name ConfigMaps and Secrets of the Backend's namespace with the key ca.crt, and
	// ClusterTrustBundles. Their CA certificates are trusted together.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	CACertificateRefs []gwapiv1.LocalObjectReference `json:"caCertificateRefs,omitempty"`

	// WellKnownCACertificates is System for the CA certificates of Envoy's system.
	//
	// +optional
	WellKnownCACertificates *gwapiv1.WellKnownCACertificatesType `json:"wellKnownCACertificates,omitempty"`

	// InsecureSkipVerify says that the certificate of the endpoint is not verified. Whoever can intercept the connection
	// can then read and change it. A BackendTLSPolicy of the Backend has it verified all the same.
	//
	// +optional
	// +kubebuilder:default=false
	InsecureSkipVerify *bool `json:"insecureSkipVerify,omitempty"`

	// SNI is the server name that Envoy asks for. The certificate must be for it. Default: the host of each request.
	// Connections that are not HTTP have no host; for them it is the host name of the endpoint.
	//
	// +optional
	SNI *gwapiv1.PreciseHostname `json:"sni,omitempty"`

	// AutoSNIFromEndpointHostname says that Envoy asks each endpoint for its own host name, or its DNS name without one.
	//
	// +optional
	AutoSNIFromEndpointHostname *bool `json:"autoSNIFromEndpointHostname,omitempty"`

	BackendTLSConfig `json:",inline"`
}

// BackendTLSConfig is Envoy's own side of TLS to a backend.
type BackendTLSConfig struct {
	// ClientCertificateRef is a Secret of type kubernetes.io/tls in the same namespace. Envoy presents its certificate.
	// Default: the certificate that the Gateway has for backends, if any.
	//
	// +optional
	ClientCertificateRef *gwapiv1.SecretObjectReference `json:"clientCertificateRef,omitempty"`

	TLSSettings `json:",inline"`
}
