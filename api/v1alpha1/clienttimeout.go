package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// ClientTimeout limits how long clients may take.
type ClientTimeout struct {
	// TCP limits the time of connections.
	//
	// +optional
	TCP *TCPClientTimeout `json:"tcp,omitempty"`

	// HTTP limits the time of requests, on listeners that read them.
	//
	// +optional
	HTTP *HTTPClientTimeout `json:"http,omitempty"`
}

// TCPClientTimeout limits the time of connections. 0s means no limit.
type TCPClientTimeout struct {
	// IdleTimeout is how long a connection may carry nothing in either direction, on listeners for TLS and TCP.
	// Default: 1h.
	//
	// +optional
	IdleTimeout *gwapiv1.Duration `json:"idleTimeout,omitempty"`

	// TLSHandshakeTimeout is how long a TLS handshake may take, where Envoy terminates TLS. Default: 10s.
	//
	// +optional
	TLSHandshakeTimeout *gwapiv1.Duration `json:"tlsHandshakeTimeout,omitempty"`

	// ConnectionInspectionTimeout is how long a client may take to send what Envoy must read before it can choose a
	// listener, such as the server name of TLS. The listeners of a port share it. Default: 15s.
	//
	// +optional
	ConnectionInspectionTimeout *gwapiv1.Duration `json:"connectionInspectionTimeout,omitempty"`
}

// HTTPClientTimeout limits the time of requests. 0s means no limit.
type HTTPClientTimeout struct {
	// RequestReceivedTimeout is how long a client may take to send a whole request. Default: no limit.
	//
	// +optional
	RequestReceivedTimeout *gwapiv1.Duration `json:"requestReceivedTimeout,omitempty"`

	// RequestHeadersReceivedTimeout is how long a client may take to send the headers of a request. Default: 10s.
	//
	// +optional
	RequestHeadersReceivedTimeout *gwapiv1.Duration `json:"requestHeadersReceivedTimeout,omitempty"`

	// IdleTimeout is how long a connection may have no request. Default: 1h.
	//
	// +optional
	IdleTimeout *gwapiv1.Duration `json:"idleTimeout,omitempty"`

	// StreamIdleTimeout is how long a request or response may carry nothing in either direction. The streamIdleTimeout
	// of a BackendTrafficPolicy wins. Default: 5m, and at least 1h for requests with a request timeout.
	//
	// +optional
	StreamIdleTimeout *gwapiv1.Duration `json:"streamIdleTimeout,omitempty"`
}
