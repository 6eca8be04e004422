package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// BackendConnection says how connections to endpoints are handled.
type BackendConnection struct {
	// BufferLimit is how many bytes of a connection Envoy holds in each direction before it stops reading, such as 64Ki.
	// Default: 32Ki.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	BufferLimit *resource.Quantity `json:"bufferLimit,omitempty"`

	// SocketBufferLimit is the size of the kernel's buffers of a connection, one for each direction, such as 256Ki. The
	// kernel doubles it, and has limits of its own. Default: that of the kernel.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	SocketBufferLimit *resource.Quantity `json:"socketBufferLimit,omitempty"`

	// Preconnect opens connections before requests need them. Default: off.
	//
	// +optional
	Preconnect *PreconnectPolicy `json:"preconnect,omitempty"`
}

// PreconnectPolicy opens connections before requests need them.
type PreconnectPolicy struct {
	// PerEndpointPercent is how many requests there are connections for to each endpoint that has requests, in per cent
	// of the requests: 150 opens three connections for two requests.
	//
	// +optional
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=300
	PerEndpointPercent *uint32 `json:"perEndpointPercent,omitempty"`

	// PredictivePercent is the same for all endpoints together: connections are opened to the endpoints that will get the
	// next requests; at most 300. Only for load balancers of type Random and RoundRobin.
	//
	// +optional
	// +kubebuilder:validation:Minimum=100
	PredictivePercent *uint32 `json:"predictivePercent,omitempty"`
}
