package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// CircuitBreaker limits what Envoy has open to a backend at once. What goes over a limit is answered 503 without asking
// the backend. Each Envoy counts for itself.
type CircuitBreaker struct {
	// MaxConnections is how many connections to the backend each Envoy may have. Default: 1024.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MaxConnections *int64 `json:"maxConnections,omitempty"`

	// MaxPendingRequests is how many requests may wait for a connection. Default: 1024.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MaxPendingRequests *int64 `json:"maxPendingRequests,omitempty"`

	// MaxParallelRequests is how many requests the backend may be working on. Default: 1024.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MaxParallelRequests *int64 `json:"maxParallelRequests,omitempty"`

	// MaxParallelRetries is how many of these may be retries. Default: 1024. RetryBudget wins over it.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MaxParallelRetries *int64 `json:"maxParallelRetries,omitempty"`

	// MaxRequestsPerConnection is after how many requests a connection is closed. Default: no limit.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MaxRequestsPerConnection *int64 `json:"maxRequestsPerConnection,omitempty"`

	// PerEndpoint limits each endpoint of the backend.
	//
	// +optional
	PerEndpoint *PerEndpointCircuitBreakers `json:"perEndpoint,omitempty"`

	// RetryBudget limits retries to a share of the requests that are being worked on.
	//
	// +optional
	RetryBudget *RetryBudget `json:"retryBudget,omitempty"`
}

// PerEndpointCircuitBreakers limits each endpoint of a backend.
type PerEndpointCircuitBreakers struct {
	// MaxConnections is how many connections to one endpoint each Envoy may have. Default: 1024.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MaxConnections *int64 `json:"maxConnections,omitempty"`
}

// RetryBudget limits retries to a share of the requests that are being worked on.
type RetryBudget struct {
	// Percent is the share, from 0 to all requests.
	//
	// +required
	Percent gwapiv1.Fraction `json:"percent"`

	// MinRetryConcurrency is how many retries there may be at once however few requests there are. Default: 3.
	//
	// +optional
	MinRetryConcurrency *uint32 `json:"minRetryConcurrency,omitempty"`
}
