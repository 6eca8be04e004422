package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// ClientConnection says how connections of clients are handled.
type ClientConnection struct {
	// ConnectionLimit limits connections and their use.
	//
	// +optional
	ConnectionLimit *ConnectionLimit `json:"connectionLimit,omitempty"`

	// BufferLimit is how many bytes of a connection Envoy holds in each direction before it stops reading, such as 64Ki.
	// It also limits the bodies of requests that are kept for a retry. The listeners of a port share it. Default: 32Ki.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	BufferLimit *resource.Quantity `json:"bufferLimit,omitempty"`

	// SocketBufferLimit is the size of the kernel's buffers of a connection, in each direction, which the kernel doubles for
	// its own use. The listeners of a port share it. Default: the kernel's.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	SocketBufferLimit *resource.Quantity `json:"socketBufferLimit,omitempty"`

	// MaxAcceptPerSocketEvent is how many connections are accepted at a time. 0 means no limit. The listeners of a port
	// share it. Default: 1; without connection, no limit.
	//
	// +optional
	// +kubebuilder:default=1
	MaxAcceptPerSocketEvent *uint32 `json:"maxAcceptPerSocketEvent,omitempty"`
}

// ConnectionLimit limits connections and their use.
//
// +kubebuilder:validation:XValidation:rule="!has(self.closeDelay) || has(self.value)",fieldPath=".closeDelay",message="closeDelay is about connections beyond value: write value, or remove closeDelay"
type ConnectionLimit struct {
	// Value is how many connections each Envoy has open at a time: to the listener, or, for listeners for TLS and TCP, for
	// each route. The listeners for HTTP of a port share it. Others are closed.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	Value *int64 `json:"value,omitempty"`

	// CloseDelay is how long a connection beyond the value stays open before it is closed, which slows clients down that
	// connect again at once. Default: 0s.
	//
	// +optional
	CloseDelay *gwapiv1.Duration `json:"closeDelay,omitempty"`

	// MaxConnectionDuration is how long a connection may be open. Requests that it has at that time are served. Default: no
	// limit.
	//
	// +optional
	MaxConnectionDuration *gwapiv1.Duration `json:"maxConnectionDuration,omitempty"`

	// MaxRequestsPerConnection is after how many requests a connection is closed. 0 means no limit.
	//
	// +optional
	MaxRequestsPerConnection *uint32 `json:"maxRequestsPerConnection,omitempty"`

	// MaxStreamDuration is how long a request with its response may take. 0s means no limit.
	//
	// +optional
	MaxStreamDuration *gwapiv1.Duration `json:"maxStreamDuration,omitempty"`
}
