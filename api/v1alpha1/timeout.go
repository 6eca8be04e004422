package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// Timeout limits how long connections and requests to backends may take.
type Timeout struct {
	// TCP limits connections of any protocol.
	//
	// +optional
	TCP *TCPTimeout `json:"tcp,omitempty"`

	// HTTP limits HTTP connections and requests.
	//
	// +optional
	HTTP *HTTPTimeout `json:"http,omitempty"`
}

// TCPTimeout limits connections of any protocol.
type TCPTimeout struct {
	// ConnectTimeout is the longest time that setting up a connection to an endpoint may take, TLS handshake included.
	// Default: 1.5s, after which another endpoint is tried; 10s if numRetries is 0 or the configuration of the control
	// plane sets backends.disableRetries.
	//
	// +optional
	ConnectTimeout *gwapiv1.Duration `json:"connectTimeout,omitempty"`
}

// HTTPTimeout limits HTTP connections and requests.
type HTTPTimeout struct {
	// ConnectionIdleTimeout closes a connection to an endpoint that has carried no request for this long; 0s means
	// never. Default: 1h.
	//
	// +optional
	ConnectionIdleTimeout *gwapiv1.Duration `json:"connectionIdleTimeout,omitempty"`

	// MaxConnectionDuration drains a connection to an endpoint when it is this old. Default: no limit.
	//
	// +optional
	MaxConnectionDuration *gwapiv1.Duration `json:"maxConnectionDuration,omitempty"`

	// RequestTimeout is the longest time from the end of a request to the end of its response, retries included; 0s
	// means no limit. timeouts.request of an HTTPRoute rule wins. Default: 15s, which is Envoy's.
	//
	// +optional
	RequestTimeout *gwapiv1.Duration `json:"requestTimeout,omitempty"`

	// MaxStreamDuration is the longest time that a request and its response may take together, streams and
	// WebSockets included; 0s means no limit. Default: no limit.
	//
	// +optional
	MaxStreamDuration *gwapiv1.Duration `json:"maxStreamDuration,omitempty"`

	// StreamIdleTimeout ends a request on which neither side has sent anything for this long; 0s means no limit.
	// Default: the limit of the listener.
	//
	// +optional
	StreamIdleTimeout *gwapiv1.Duration `json:"streamIdleTimeout,omitempty"`
}
