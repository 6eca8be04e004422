package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// ClientConnection says how connections of clients are handled.
type ClientConnection struct {
	// BufferLimit is how many bytes of a connection Envoy holds in each direction before it stops reading, such as 64Ki.
	// It also limits the bodies of requests that are kept for a retry. The listeners of a port share it. Default: 32Ki.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	BufferLimit *resource.Quantity `json:"bufferLimit,omitempty"`
}
