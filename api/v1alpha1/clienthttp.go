package v1alpha1

// HTTP1Settings are about HTTP/1 with clients.
type HTTP1Settings struct {
	// EnableTrailers reads and writes trailers of HTTP/1. Default: they are dropped.
	//
	// +optional
	EnableTrailers *bool `json:"enableTrailers,omitempty"`

	// PreserveHeaderCase gives backends that speak HTTP/1 the names of headers as the client wrote them. Names in
	// responses stay in lower case.
	//
	// +optional
	PreserveHeaderCase *bool `json:"preserveHeaderCase,omitempty"`

	// HTTP10 serves HTTP/1.0 and 0.9. Default: such requests are answered 426.
	//
	// +optional
	HTTP10 *HTTP10Settings `json:"http10,omitempty"`

	// DisableSafeMaxConnectionDuration closes connections of HTTP/1 at maxConnectionDuration. Default: the last response
	// says connection: close, and the client closes.
	//
	// +optional
	DisableSafeMaxConnectionDuration bool `json:"disableSafeMaxConnectionDuration,omitempty"`

	// IgnoredUpgradeTypes are values of the header upgrade that are ignored. Then the request is served as without it.
	//
	// +optional
	IgnoredUpgradeTypes []StringMatch `json:"ignoredUpgradeTypes,omitempty"`
}

// HTTP10Settings are about HTTP/1.0.
type HTTP10Settings struct {
	// UseDefaultHost gives requests without a host the hostname of the listener, which must not be a wildcard.
	//
	// +optional
	UseDefaultHost *bool `json:"useDefaultHost,omitempty"`
}

// GRPCSettings are about gRPC.
type GRPCSettings struct {
	// EnableWeb makes gRPC of gRPC-Web: true on all routes, false on none. Default: on the routes of GRPCRoutes.
	//
	// +optional
	EnableWeb *bool `json:"enableWeb,omitempty"`
}

// HealthCheckSettings answers requests about the health of the Gateway.
type HealthCheckSettings struct {
	// Path is the path of such requests, without a query. They are answered 200, or 503 while Envoy ends, before any policy
	// and any route.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`
}

// SchemeHeaderTransform says which scheme backends see. Preserve is that of the client's connection. MatchBackend is
// that of the connection to the backend.
//
// +kubebuilder:validation:Enum=Preserve;MatchBackend
type SchemeHeaderTransform string

// The schemes that backends see.
const (
	SchemePreserve     SchemeHeaderTransform = "Preserve"
	SchemeMatchBackend SchemeHeaderTransform = "MatchBackend"
)
