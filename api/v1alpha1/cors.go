package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// CORS says which web origins may send requests from a browser, by the CORS protocol of the Fetch standard. A request
// of another origin is answered without CORS headers, and the browser keeps the response from the page.
type CORS struct {
	// AllowOrigins lists web origins, each as * (any), or as scheme://host[:port], where the host may be * or begin
	// with one label *. (any subdomain).
	//
	// +optional
	// +kubebuilder:validation:MaxItems=256
	AllowOrigins []Origin `json:"allowOrigins,omitempty"`

	// AllowMethods lists methods that a preflight request may ask for; * means any.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=64
	AllowMethods []string `json:"allowMethods,omitempty"`

	// AllowHeaders lists request headers that a preflight request may ask for; * means any.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=256
	AllowHeaders []string `json:"allowHeaders,omitempty"`

	// ExposeHeaders lists response headers that pages may read in addition to the safe-listed ones; * means any.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=256
	ExposeHeaders []string `json:"exposeHeaders,omitempty"`

	// MaxAge is how long a browser may remember the answer to a preflight request, in whole seconds. Default: the
	// browser's own.
	//
	// +optional
	MaxAge *gwapiv1.Duration `json:"maxAge,omitempty"`

	// AllowCredentials allows requests with cookies, client certificates or an Authorization header. Default: false.
	//
	// +optional
	AllowCredentials *bool `json:"allowCredentials,omitempty"`
}

// Origin is a web origin: *, or scheme://host[:port], where the host may be * or begin with one label *. .
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:Pattern=`^(\*|[A-Za-z][A-Za-z0-9+.-]*://(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)(:[0-9]{1,5})?)$`
type Origin string
