package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// Retry says which failed requests are sent again, how often and how soon. A retry avoids the endpoints that were tried
// before. Without it, a request that no endpoint received is tried at another one, and so are GET, HEAD and OPTIONS
// requests whose connection broke.
type Retry struct {
	// NumRetries is how many times a request is sent again after its first failure.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:default=2
	NumRetries *int32 `json:"numRetries,omitempty"`

	// NumAttemptsPerPriority is how many attempts go to endpoints of one priority before the next priority is tried,
	// which matters when a backend is a fallback. Without it every attempt chooses its priority by health alone.
	//
	// +optional
	NumAttemptsPerPriority *int32 `json:"numAttemptsPerPriority,omitempty"`

	// RetryOn lists what counts as a failure. Default: connect-failure, refused-stream, unavailable, cancelled, and
	// retriable-status-codes with status 503.
	//
	// +optional
	RetryOn *RetryOn `json:"retryOn,omitempty"`

	// PerRetry limits a single attempt and sets the wait between attempts.
	//
	// +optional
	PerRetry *PerRetryPolicy `json:"perRetry,omitempty"`
}

// Off reports whether the spec switches retries off. An absent field does not.
func (r *Retry) Off() bool { return r != nil && r.NumRetries != nil && *r.NumRetries <= 0 }

// RetryOn lists what counts as a failure that is worth a retry.
type RetryOn struct {
	// Triggers are failures by Envoy's names, those of its headers x-envoy-retry-on and x-envoy-retry-grpc-on.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=64
	Triggers []TriggerEnum `json:"triggers,omitempty"`

	// HTTPStatusCodes are response codes, from 100 to 599, that count as a failure. They take effect only together
	// with trigger retriable-status-codes, and replace the default of 503.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=500
	HTTPStatusCodes []HTTPStatus `json:"httpStatusCodes,omitempty"`
}

// HTTPStatus is an HTTP response code.
//
// +kubebuilder:validation:Minimum=100
// +kubebuilder:validation:Maximum=599
type HTTPStatus int

// TriggerEnum is a failure by Envoy's name.
//
// +kubebuilder:validation:Enum="5xx";gateway-error;reset;reset-before-request;connect-failure;retriable-4xx;refused-stream;retriable-status-codes;cancelled;deadline-exceeded;internal;resource-exhausted;unavailable
type TriggerEnum string

// The failures that a request can be retried on. The last five are gRPC statuses.
const (
	Error5XX             TriggerEnum = "5xx"
	GatewayError         TriggerEnum = "gateway-error"
	Reset                TriggerEnum = "reset"
	ResetBeforeRequest   TriggerEnum = "reset-before-request"
	ConnectFailure       TriggerEnum = "connect-failure"
	Retriable4XX         TriggerEnum = "retriable-4xx"
	RefusedStream        TriggerEnum = "refused-stream"
	RetriableStatusCodes TriggerEnum = "retriable-status-codes"
	Cancelled            TriggerEnum = "cancelled"
	DeadlineExceeded     TriggerEnum = "deadline-exceeded"
	Internal             TriggerEnum = "internal"
	ResourceExhausted    TriggerEnum = "resource-exhausted"
	Unavailable          TriggerEnum = "unavailable"
)

// PerRetryPolicy limits a single attempt and sets the wait between attempts.
type PerRetryPolicy struct {
	// Timeout is the longest time that one attempt may take, the first one included. Default: the request timeout.
	//
	// +optional
	Timeout *gwapiv1.Duration `json:"timeout,omitempty"`

	// BackOff sets the wait between attempts. Default: Envoy's, a base of 25ms and a maximum of 250ms.
	//
	// +optional
	BackOff *BackOffPolicy `json:"backOff,omitempty"`
}

// BackOffPolicy sets the wait between attempts, exponentially and with full jitter.
type BackOffPolicy struct {
	// BaseInterval is the base of the exponential back-off; more than 0s.
	//
	// +optional
	BaseInterval *gwapiv1.Duration `json:"baseInterval,omitempty"`

	// MaxInterval is the longest wait between attempts; more than 0s and not less than baseInterval. Default: ten
	// times baseInterval.
	//
	// +optional
	MaxInterval *gwapiv1.Duration `json:"maxInterval,omitempty"`
}
