package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// BackendTelemetry is what Envoy tells about the requests of routes.
type BackendTelemetry struct {
	// Tracing says of which requests spans are sent, and what is in them. Spans are sent only where the Envoys have a
	// tracing provider.
	//
	// +optional
	Tracing *Tracing `json:"tracing,omitempty"`

	// Metrics is about Envoy's statistics.
	//
	// +optional
	Metrics *BackendMetrics `json:"metrics,omitempty"`
}

// BackendMetrics is about Envoy's statistics of routes.
type BackendMetrics struct {
	// RouteStatName is the name under which the requests of each rule are counted, such as
	// %ROUTE_NAMESPACE%/%ROUTE_NAME%/%ROUTE_RULE_NAME%. What it may have of the route are %ROUTE_NAME%, %ROUTE_NAMESPACE%,
	// %ROUTE_KIND% and %ROUTE_RULE_NAME%, which is - for a rule without a name, each once and with _ for dots. Default: requests of single routes are
	// not counted, and connections and datagrams are counted for their listener.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RouteStatName *string `json:"routeStatName,omitempty"`
}

// Tracing says of which requests spans are sent, and what is in them.
type Tracing struct {
	// SamplingFraction is the share of the requests that are traced if nobody asked for it. Default: all.
	//
	// +optional
	SamplingFraction *gwapiv1.Fraction `json:"samplingFraction,omitempty"`

	// ClientSamplingFraction is the share of the requests that are traced of those for which a client asks, by the header
	// x-client-trace-id. Default: none, so clients cannot ask.
	//
	// +optional
	ClientSamplingFraction *gwapiv1.Fraction `json:"clientSamplingFraction,omitempty"`

	// OverallSamplingFraction is the share of the requests that may be traced at all, whoever asks. Default: all.
	//
	// +optional
	OverallSamplingFraction *gwapiv1.Fraction `json:"overallSamplingFraction,omitempty"`

	// CustomTags are added to spans, by the names of the tags. It is deprecated: write tags.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	CustomTags map[string]CustomTag `json:"customTags,omitempty"`

	// Tags are added to spans, by the names of the tags. Values may have command operators of Envoy, such as
	// %REQ(x-user)%. A tag wins over one of customTags.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Tags map[string]string `json:"tags,omitempty"`

	// SpanName names spans. Default: the name that Envoy gives them.
	//
	// +optional
	SpanName *TracingSpanName `json:"spanName,omitempty"`
}

// TracingSpanName names spans. Names may have command operators of Envoy.
type TracingSpanName struct {
	// Client is the name of the span of a request to a backend.
	//
	// +required
	Client string `json:"client"`

	// Server is the name of the span of a request from a client.
	//
	// +required
	Server string `json:"server"`
}

// CustomTagType is where the value of a tag comes from.
//
// +kubebuilder:validation:Enum=Literal;Environment;RequestHeader
type CustomTagType string

// Where the value of a tag comes from.
const (
	CustomTagTypeLiteral       CustomTagType = "Literal"
	CustomTagTypeEnvironment   CustomTagType = "Environment"
	CustomTagTypeRequestHeader CustomTagType = "RequestHeader"
)

// CustomTag is the value of a tag of spans.
//
// +union
type CustomTag struct {
	// Type is where the value comes from: it is written here (Literal), in Envoy's environment (Environment) or in a header
	// of the request (RequestHeader).
	//
	// +unionDiscriminator
	// +kubebuilder:default=Literal
	Type CustomTagType `json:"type,omitempty"`

	// Literal is the value when type is Literal.
	//
	// +optional
	Literal *LiteralCustomTag `json:"literal,omitempty"`

	// Environment is the variable when type is Environment.
	//
	// +optional
	Environment *EnvironmentCustomTag `json:"environment,omitempty"`

	// RequestHeader is the header when type is RequestHeader.
	//
	// +optional
	RequestHeader *RequestHeaderCustomTag `json:"requestHeader,omitempty"`
}

// LiteralCustomTag is a value that is written here.
type LiteralCustomTag struct {
	// Value is the value.
	//
	// +required
	Value string `json:"value"`
}

// EnvironmentCustomTag is a variable of Envoy's environment.
type EnvironmentCustomTag struct {
	// Name is the name of the variable.
	//
	// +required
	Name string `json:"name"`

	// DefaultValue is the value if there is no such variable. Default: the tag is left out.
	//
	// +optional
	DefaultValue *string `json:"defaultValue,omitempty"`
}

// RequestHeaderCustomTag is a header of the request.
type RequestHeaderCustomTag struct {
	// Name is the name of the header.
	//
	// +required
	Name string `json:"name"`

	// DefaultValue is the value if the request has no such header. Default: the tag is left out.
	//
	// +optional
	DefaultValue *string `json:"defaultValue,omitempty"`
}
