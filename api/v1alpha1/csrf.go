package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// CSRF lets requests that change something (POST, PUT, PATCH, DELETE) through only if the browser says, in the header
// Origin or Referer, that they come from a page of the host that they are for.
type CSRF struct {
	// ShadowFraction is the share of the requests that are let through in any case, and only counted. Default: none.
	//
	// +optional
	ShadowFraction *gwapiv1.Fraction `json:"shadowFraction,omitempty"`

	// AdditionalOrigins lists the other web origins whose pages may send requests. Their schemes are ignored. At most 16.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	AdditionalOrigins []Origin `json:"additionalOrigins,omitempty"`
}
