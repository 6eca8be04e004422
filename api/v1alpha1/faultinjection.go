package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// FaultInjection delays requests, or answers them with an error, to test how clients cope. It needs delay or abort.
//
// +kubebuilder:validation:XValidation:rule="has(self.delay) || has(self.abort)",message="there is no fault: set delay or abort, or remove faultInjection"
type FaultInjection struct {
	// Delay holds requests back.
	//
	// +optional
	Delay *FaultInjectionDelay `json:"delay,omitempty"`

	// Abort answers requests without the backend.
	//
	// +optional
	Abort *FaultInjectionAbort `json:"abort,omitempty"`
}

// FaultInjectionDelay holds requests back.
type FaultInjectionDelay struct {
	// FixedDelay is how long.
	//
	// +required
	FixedDelay gwapiv1.Duration `json:"fixedDelay"`

	// Percentage is how many of the requests, from 0 to 100.
	//
	// +optional
	// +kubebuilder:default=100
	Percentage *float32 `json:"percentage,omitempty"`
}

// FaultInjectionAbort answers requests without the backend. It needs one of both statuses.
//
// +kubebuilder:validation:XValidation:rule="has(self.httpStatus) != has(self.grpcStatus)",message="an answer has one status: set httpStatus or grpcStatus"
type FaultInjectionAbort struct {
	// HTTPStatus is the status code of the answer.
	//
	// +optional
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=600
	HTTPStatus *int32 `json:"httpStatus,omitempty"`

	// GrpcStatus is the status code of gRPC of the answer.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	GrpcStatus *int32 `json:"grpcStatus,omitempty"`

	// Percentage is how many of the requests, from 0 to 100.
	//
	// +optional
	// +kubebuilder:default=100
	Percentage *float32 `json:"percentage,omitempty"`
}
