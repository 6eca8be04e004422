package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// HTTP2Settings says how HTTP/2 is spoken.
type HTTP2Settings struct {
	// InitialStreamWindowSize is how many bytes the other side may send on a stream before Envoy takes them, from 65535
	// to 2147483647. Default: 64Ki.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	InitialStreamWindowSize *resource.Quantity `json:"initialStreamWindowSize,omitempty"`

	// InitialConnectionWindowSize is the same for a whole connection. Default: 1Mi.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	InitialConnectionWindowSize *resource.Quantity `json:"initialConnectionWindowSize,omitempty"`

	// MaxConcurrentStreams is how many requests a connection may carry at once. Default: 100 for clients; for endpoints,
	// what they allow.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	MaxConcurrentStreams *uint32 `json:"maxConcurrentStreams,omitempty"`

	// OnInvalidMessage is what ends if a message breaks the rules of HTTP: the connection, or the stream of the message
	// alone. Default: TerminateConnection.
	//
	// +optional
	OnInvalidMessage *InvalidMessageAction `json:"onInvalidMessage,omitempty"`

	// ConnectionKeepalive asks the other side at intervals whether it is still there, and closes the connection if no
	// answer comes. Default: off.
	//
	// +optional
	ConnectionKeepalive *HTTP2ConnectionKeepalive `json:"connectionKeepalive,omitempty"`
}

// InvalidMessageAction is what ends if a message breaks the rules of HTTP.
//
// +kubebuilder:validation:Enum=TerminateConnection;TerminateStream
type InvalidMessageAction string

// What can end if a message breaks the rules of HTTP.
const (
	InvalidMessageActionTerminateConnection InvalidMessageAction = "TerminateConnection"
	InvalidMessageActionTerminateStream     InvalidMessageAction = "TerminateStream"
)

// HTTP2ConnectionKeepalive asks the other side of a connection at intervals whether it is still there.
//
// +kubebuilder:validation:XValidation:rule="!has(self.interval) || !has(self.timeout) || duration(self.timeout) < duration(self.interval)",fieldPath=".timeout",messageExpression=`'timeout ' + self.timeout + ' is not shorter than interval ' + self.interval + ': shorten it or lengthen the interval'`,message="timeout must be shorter than interval"
type HTTP2ConnectionKeepalive struct {
	// Interval is the time between questions. Without it there are none at intervals.
	//
	// +optional
	Interval *gwapiv1.Duration `json:"interval,omitempty"`

	// Timeout is how long an answer may take. Default: 5s, and at most half of interval.
	//
	// +optional
	Timeout *gwapiv1.Duration `json:"timeout,omitempty"`

	// IntervalJitter is by how many per cent of it an interval may be longer, at random. Default: 15.
	//
	// +optional
	// +kubebuilder:validation:Maximum=100
	IntervalJitter *uint32 `json:"intervalJitter,omitempty"`

	// IdleInterval asks before a request if the connection has carried nothing for this long.
	//
	// +optional
	IdleInterval *gwapiv1.Duration `json:"idleInterval,omitempty"`
}
