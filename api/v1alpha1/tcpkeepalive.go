package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// TCPKeepalive has the kernel ask at intervals whether the other side of an idle connection is still there, and close
// the connection if no answer comes. An empty one uses the defaults of the kernel.
type TCPKeepalive struct {
	// Probes is how many questions may stay without an answer. Default: 9.
	//
	// +optional
	Probes *uint32 `json:"probes,omitempty"`

	// IdleTime is how long a connection carries nothing before the first question. Parts of a second are rounded up.
	// Default: 2h.
	//
	// +optional
	IdleTime *gwapiv1.Duration `json:"idleTime,omitempty"`

	// Interval is the time between questions. Parts of a second are rounded up. Default: 75s.
	//
	// +optional
	Interval *gwapiv1.Duration `json:"interval,omitempty"`
}
