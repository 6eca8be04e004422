package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// AdmissionControl rejects some requests while too many fail. They are answered 503 without asking the backend. Each
// Envoy counts for itself.
type AdmissionControl struct {
	// SamplingWindow is the time over which requests are counted, at least 1s. Default: 30s.
	//
	// +optional
	SamplingWindow *gwapiv1.Duration `json:"samplingWindow,omitempty"`

	// MinSuccessRate is the share of successful requests, in percent, below which requests are rejected. Default: 95.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MinSuccessRate *uint32 `json:"minSuccessRate,omitempty"`

	// RejectionAggression says how fast more requests are rejected as more fail. 1, the default, is linear.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	RejectionAggression *uint32 `json:"rejectionAggression,omitempty"`

	// MinRequestRate is how many requests there must be each second for any to be rejected. Default: 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinRequestRate *uint32 `json:"minRequestRate,omitempty"`

	// MaxRejectionPercent is how many of the requests are rejected at most, in percent. Default: 80.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxRejectionPercent *uint32 `json:"maxRejectionPercent,omitempty"`

	// SuccessCriteria say which requests are successful.
	//
	// +optional
	SuccessCriteria *AdmissionControlSuccessCriteria `json:"successCriteria,omitempty"`
}

// AdmissionControlSuccessCriteria say which requests are successful.
type AdmissionControlSuccessCriteria struct {
	// HTTP is about requests that are not of gRPC.
	//
	// +optional
	HTTP *HTTPSuccessCriteria `json:"http,omitempty"`

	// GRPC is about requests of gRPC.
	//
	// +optional
	GRPC *GRPCSuccessCriteria `json:"grpc,omitempty"`
}

// HTTPSuccessCriteria say which requests are successful.
type HTTPSuccessCriteria struct {
	// StatusCodes are the status codes of successful requests. Default: all below 500.
	//
	// +optional
	StatusCodes []HTTPStatus `json:"statusCodes,omitempty"`
}

// GRPCSuccessCriteria say which requests of gRPC are successful.
type GRPCSuccessCriteria struct {
	// StatusCodes are the status codes of successful requests. Default: all but those that say that the server failed.
	//
	// +optional
	StatusCodes []GRPCSuccessCode `json:"statusCodes,omitempty"`
}

// GRPCSuccessCode is a status code of gRPC.
//
// +kubebuilder:validation:Enum=Ok;Cancelled;Unknown;InvalidArgument;DeadlineExceeded;NotFound;AlreadyExists;PermissionDenied;ResourceExhausted;FailedPrecondition;Aborted;OutOfRange;Unimplemented;Internal;Unavailable;DataLoss;Unauthenticated
type GRPCSuccessCode string
