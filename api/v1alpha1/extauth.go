package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// ExtAuth lets a server decide which requests are let through. If the server cannot be asked, they are not, unless failOpen
// says so.
//
// +kubebuilder:validation:ExactlyOneOf=grpc;http
type ExtAuth struct {
	// GRPC asks a server that speaks Envoy's protocol for external authorization.
	//
	// +optional
	GRPC *GRPCExtAuthService `json:"grpc,omitempty"`

	// HTTP asks a server with an HTTP request: the answer 200 lets the request through.
	//
	// +optional
	HTTP *HTTPExtAuthService `json:"http,omitempty"`

	// HeadersToExtAuth are the headers of the request that the server gets. Default: all for grpc; Host, Method, Path,
	// Content-Length and Authorization for http, which it gets in any case.
	//
	// +optional
	HeadersToExtAuth []string `json:"headersToExtAuth,omitempty"`

	// BodyToExtAuth makes the server get the body of the request too.
	//
	// +optional
	BodyToExtAuth *BodyToExtAuth `json:"bodyToExtAuth,omitempty"`

	// Timeout is how long the server may take. After it, the request is denied. Default: 10s.
	//
	// +optional
	Timeout *gwapiv1.Duration `json:"timeout,omitempty"`

	// FailOpen lets requests through if the server cannot be asked, or does not exist.
	//
	// +optional
	// +kubebuilder:default=false
	FailOpen *bool `json:"failOpen,omitempty"`

	// StatusOnError is the status of the answer to a request that is denied because the server cannot be asked. Default:
	// 403.
	//
	// +optional
	// +kubebuilder:validation:Enum=400;401;402;403;404;405;406;407;408;409;410;411;412;413;414;415;416;417;421;422;423;424;426;428;429;431;500;501;502;503;504;505;506;507;508;510;511
	StatusOnError *int32 `json:"statusOnError,omitempty"`
}

// GRPCExtAuthService is a server that speaks Envoy's protocol for external authorization.
//
// +kubebuilder:validation:AtLeastOneOf=backendRef;backendRefs
type GRPCExtAuthService struct {
	BackendCluster `json:",inline"`
}

// HTTPExtAuthService is a server that is asked by an HTTP request.
//
// +kubebuilder:validation:AtLeastOneOf=backendRef;backendRefs
// +kubebuilder:validation:AtMostOneOf=path;pathOverride
type HTTPExtAuthService struct {
	BackendCluster `json:",inline"`

	// Path is put before the path of the request.
	//
	// +optional
	Path *string `json:"path,omitempty"`

	// PathOverride replaces the path of the request: the server is always asked at this path. It cannot be set together
	// with path.
	//
	// +optional
	PathOverride *string `json:"pathOverride,omitempty"`

	// HeadersToBackend are the headers of the server's answer that the backend gets. Clients cannot set them: they are
	// removed from the request, unless the server gets them too and can replace them. Default: none.
	//
	// +optional
	HeadersToBackend []string `json:"headersToBackend,omitempty"`
}

// BodyToExtAuth is the part of the body that the server gets.
type BodyToExtAuth struct {
	// MaxRequestBytes is the longest body that is sent to the server, in bytes. A request with a longer one is answered 413.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	MaxRequestBytes uint32 `json:"maxRequestBytes"`
}
