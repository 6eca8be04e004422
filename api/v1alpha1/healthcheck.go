package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// HealthCheck takes endpoints out that do not answer as they should. Each Envoy checks for itself.
type HealthCheck struct {
	// Active asks endpoints at intervals.
	//
	// +optional
	Active *ActiveHealthCheck `json:"active,omitempty"`

	// Passive watches the answers of endpoints to requests.
	//
	// +optional
	Passive *PassiveHealthCheck `json:"passive,omitempty"`

	// PanicThreshold is the share of healthy endpoints, in per cent, below which all endpoints get requests, healthy or
	// not; 0 means never. Default: 50.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	PanicThreshold *uint32 `json:"panicThreshold,omitempty"`
}

// PassiveHealthCheck watches the answers of endpoints to requests. An endpoint that fails gets no requests for some
// time: baseEjectionTime, multiplied by how often it was taken out in a row.
type PassiveHealthCheck struct {
	// SplitExternalLocalOriginErrors counts failures that Envoy sees itself, such as failed connections, apart from
	// responses. consecutiveLocalOriginFailures works only with it.
	//
	// +optional
	// +kubebuilder:default=false
	SplitExternalLocalOriginErrors *bool `json:"splitExternalLocalOriginErrors,omitempty"`

	// Interval is how often endpoints are judged by their share of failures, and let in again; more than 0s.
	//
	// +optional
	// +kubebuilder:default="3s"
	Interval *gwapiv1.Duration `json:"interval,omitempty"`

	// ConsecutiveLocalOriginFailures is after how many failed connections in a row an endpoint is taken out.
	//
	// +optional
	// +kubebuilder:default=5
	ConsecutiveLocalOriginFailures *uint32 `json:"consecutiveLocalOriginFailures,omitempty"`

	// ConsecutiveGatewayErrors is after how many responses 502, 503 or 504 in a row an endpoint is taken out. Without it
	// these are counted as all other 5xx are.
	//
	// +optional
	ConsecutiveGatewayErrors *uint32 `json:"consecutiveGatewayErrors,omitempty"`

	// Consecutive5xxErrors is after how many responses 5xx in a row an endpoint is taken out.
	//
	// +optional
	// +kubebuilder:default=5
	Consecutive5xxErrors *uint32 `json:"consecutive5XxErrors,omitempty"`

	// BaseEjectionTime is for how long an endpoint is taken out the first time; more than 0s.
	//
	// +optional
	// +kubebuilder:default="30s"
	BaseEjectionTime *gwapiv1.Duration `json:"baseEjectionTime,omitempty"`

	// MaxEjectionPercent is how many of the endpoints may be out at once, in per cent. If that is less than one
	// endpoint, as 10 is for fewer than ten, none is taken out: raise it, or set alwaysEjectOneEndpoint.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +kubebuilder:default=10
	MaxEjectionPercent *int32 `json:"maxEjectionPercent,omitempty"`

	// FailurePercentageThreshold is the share of failed requests, in per cent, at which an endpoint is taken out. It
	// needs five endpoints with fifty requests each in an interval. Without it the share does not count.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	FailurePercentageThreshold *uint32 `json:"failurePercentageThreshold,omitempty"`

	// AlwaysEjectOneEndpoint lets one endpoint be taken out even if maxEjectionPercent is less than one.
	//
	// +optional
	// +kubebuilder:default=false
	AlwaysEjectOneEndpoint *bool `json:"alwaysEjectOneEndpoint,omitempty"`
}

// ActiveHealthCheck asks endpoints at intervals. A new endpoint gets requests after its first good answer.
//
// +union
//
// +kubebuilder:validation:XValidation:rule="self.type == 'HTTP' ? has(self.http) : !has(self.http)",fieldPath=".http",messageExpression=`self.type == 'HTTP' ? 'type is HTTP, so http must say what is asked' : 'http works only with type HTTP, not with ' + self.type + ': remove it or change the type'`,message="http and type HTTP need each other"
// +kubebuilder:validation:XValidation:rule="self.type == 'TCP' ? has(self.tcp) : !has(self.tcp)",fieldPath=".tcp",messageExpression=`self.type == 'TCP' ? 'type is TCP, so tcp must be set: write {} to open a connection only' : 'tcp works only with type TCP, not with ' + self.type + ': remove it or change the type'`,message="tcp and type TCP need each other"
// +kubebuilder:validation:XValidation:rule="self.type == 'GRPC' || !has(self.grpc)",fieldPath=".grpc",messageExpression=`'grpc works only with type GRPC, not with ' + self.type + ': remove it or change the type'`,message="grpc works only with type GRPC"
type ActiveHealthCheck struct {
	// Timeout is how long an answer may take; more than 0s, and at most 1m.
	//
	// +optional
	// +kubebuilder:default="1s"
	Timeout *gwapiv1.Duration `json:"timeout,omitempty"`

	// Interval is the time between two questions; more than 0s.
	//
	// +optional
	// +kubebuilder:default="3s"
	Interval *gwapiv1.Duration `json:"interval,omitempty"`

	// InitialJitter is the longest wait before the first question, chosen at random; at most 1m. Default: none.
	//
	// +optional
	InitialJitter *gwapiv1.Duration `json:"initialJitter,omitempty"`

	// UnhealthyThreshold is after how many bad answers in a row an endpoint is taken out. A bad status that is not in
	// retriableStatuses counts at once.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default=3
	UnhealthyThreshold *uint32 `json:"unhealthyThreshold,omitempty"`

	// HealthyThreshold is after how many good answers in a row an endpoint gets requests again. The first answer of a new
	// endpoint suffices.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default=1
	HealthyThreshold *uint32 `json:"healthyThreshold,omitempty"`

	// Type is the protocol of the question. GRPC is the health protocol of gRPC (grpc.health.v1). It is asked of backends
	// that are spoken to in HTTP/2, such as those of GRPCRoutes; the check has no effect on others.
	//
	// +unionDiscriminator
	// +required
	Type ActiveHealthCheckerType `json:"type"`

	// HTTP is what is asked when type is HTTP.
	//
	// +optional
	HTTP *HTTPActiveHealthChecker `json:"http,omitempty"`

	// TCP is what is asked when type is TCP.
	//
	// +optional
	TCP *TCPActiveHealthChecker `json:"tcp,omitempty"`

	// GRPC is what is asked when type is GRPC. Default: the health of the whole server.
	//
	// +optional
	GRPC *GRPCActiveHealthChecker `json:"grpc,omitempty"`

	// Overrides changes where endpoints are asked.
	//
	// +optional
	Overrides *HealthCheckOverrides `json:"overrides,omitempty"`

	// HealthCheckLog writes what the checks find. Default: nothing is written.
	//
	// +optional
	HealthCheckLog *ProxyHealthCheckLog `json:"healthCheckLog,omitempty"`
}

// ActiveHealthCheckerType is the protocol of a health check.
//
// +kubebuilder:validation:Enum=HTTP;TCP;GRPC
type ActiveHealthCheckerType string

// The protocols of health checks.
const (
	ActiveHealthCheckerTypeHTTP ActiveHealthCheckerType = "HTTP"
	ActiveHealthCheckerTypeTCP  ActiveHealthCheckerType = "TCP"
	ActiveHealthCheckerTypeGRPC ActiveHealthCheckerType = "GRPC"
)

// HealthCheckOverrides changes where endpoints are asked.
type HealthCheckOverrides struct {
	// Port is the port that is asked. Default: the port of requests.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// HTTPActiveHealthChecker asks endpoints over HTTP.
//
// +kubebuilder:validation:XValidation:rule="!has(self.requestBody) || (has(self.method) && self.method.upperAscii() in ['POST', 'PUT'])",fieldPath=".requestBody",message="requestBody works only with method POST or PUT: remove it or change the method"
type HTTPActiveHealthChecker struct {
	// Hostname is the host that is asked for. Default: the hostname of the endpoint of a Backend; then the first
	// hostname of the route without a wildcard; then the name of the backend.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Hostname *string `json:"hostname,omitempty"`

	// Path is the path that is asked for, query included.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`

	// Method is that of the request: GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE or PATCH, in any case. Default: GET.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Method *string `json:"method,omitempty"`

	// ExpectedStatuses are those of good answers. Default: 200.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=500
	ExpectedStatuses []HTTPStatus `json:"expectedStatuses,omitempty"`

	// RetriableStatuses are those of bad answers of which unhealthyThreshold are needed. Default: none, so that each bad
	// status takes an endpoint out at once.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=500
	RetriableStatuses []HTTPStatus `json:"retriableStatuses,omitempty"`

	// ExpectedResponse is what the body of a good answer contains. Default: anything.
	//
	// +optional
	ExpectedResponse *ActiveHealthCheckPayload `json:"expectedResponse,omitempty"`

	// RequestBody is the body of the request. Only for methods POST and PUT.
	//
	// +optional
	RequestBody *ActiveHealthCheckPayload `json:"requestBody,omitempty"`
}

// TCPActiveHealthChecker opens a connection to endpoints.
type TCPActiveHealthChecker struct {
	// Send is what is sent. Default: nothing.
	//
	// +optional
	Send *ActiveHealthCheckPayload `json:"send,omitempty"`

	// Receive is what a good answer contains. Default: nothing, so that an accepted connection suffices.
	//
	// +optional
	Receive *ActiveHealthCheckPayload `json:"receive,omitempty"`
}

// GRPCActiveHealthChecker asks endpoints by the health protocol of gRPC.
type GRPCActiveHealthChecker struct {
	// Service is the service whose health is asked for. Default: the whole server.
	//
	// +optional
	Service *string `json:"service,omitempty"`
}

// ActiveHealthCheckPayload is bytes that are sent or received.
//
// +union
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Text' ? has(self.text) : !has(self.text)",fieldPath=".text",messageExpression=`self.type == 'Text' ? 'type is Text, so text must be set' : 'text works only with type Text, not with ' + self.type + ': remove it or change the type'`,message="text and type Text need each other"
// +kubebuilder:validation:XValidation:rule="self.type == 'Binary' ? has(self.binary) : !has(self.binary)",fieldPath=".binary",messageExpression=`self.type == 'Binary' ? 'type is Binary, so binary must be set' : 'binary works only with type Binary, not with ' + self.type + ': remove it or change the type'`,message="binary and type Binary need each other"
type ActiveHealthCheckPayload struct {
	// Type is how the bytes are written.
	//
	// +unionDiscriminator
	// +required
	Type ActiveHealthCheckPayloadType `json:"type"`

	// Text is the bytes as text when type is Text.
	//
	// +optional
	Text *string `json:"text,omitempty"`

	// Binary is the bytes in Base64 when type is Binary.
	//
	// +optional
	// +kubebuilder:validation:Format=byte
	Binary []byte `json:"binary,omitempty"`
}

// ActiveHealthCheckPayloadType is how bytes are written.
//
// +kubebuilder:validation:Enum=Text;Binary
type ActiveHealthCheckPayloadType string

// How bytes can be written.
const (
	ActiveHealthCheckPayloadTypeText   ActiveHealthCheckPayloadType = "Text"
	ActiveHealthCheckPayloadTypeBinary ActiveHealthCheckPayloadType = "Binary"
)
