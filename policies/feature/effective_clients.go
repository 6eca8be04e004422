package feature

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Clients are the limits and the checks for clients.
type Clients struct {
	// Certificates is what a policy asks of the certificates of clients. What a Gateway asks is in tls.
	Certificates *ClientCertificates `json:"certificates,omitempty"`
	// Timeouts are how long clients may take.
	Timeouts *ClientTimeouts `json:"timeouts,omitempty"`
	// BufferLimit is how many bytes of a connection are held in each direction.
	BufferLimit *int64 `json:"bufferLimit,omitempty"`
	// HeadersWithUnderscores is what is done with them: Allow, RejectRequest or DropHeader.
	HeadersWithUnderscores string `json:"headersWithUnderscores,omitempty"`
	// EscapedSlashes is what is done with paths that have them: KeepUnchanged, RejectRequest, UnescapeAndForward or
	// UnescapeAndRedirect.
	EscapedSlashes string `json:"escapedSlashes,omitempty"`
	// MergeSlashes is true if several slashes in a row count as one.
	MergeSlashes *bool `json:"mergeSlashes,omitempty"`
	// Address is where the address of a client is taken from, if not from its connection: xForwardedFor, or the name of a
	// header.
	Address string `json:"address,omitempty"`
	// ProxyProtocol is Required or Optional if the header of the PROXY protocol is read.
	ProxyProtocol string `json:"proxyProtocol,omitempty"`
	// MaxConnections is how many connections each Envoy has open.
	MaxConnections *int64 `json:"maxConnections,omitempty"`
	// MaxConcurrentStreams is how many requests a connection of HTTP/2 may have at a time.
	MaxConcurrentStreams *int64 `json:"maxConcurrentStreams,omitempty"`
	// MaxRequestHeaders is how many bytes the headers of a request may have.
	MaxRequestHeaders *int64 `json:"maxRequestHeaders,omitempty"`
	// ForwardedClientCert is what backends get in x-forwarded-client-cert: Sanitize, ForwardOnly, AppendForward,
	// SanitizeSet or AlwaysForwardOnly.
	ForwardedClientCert string `json:"forwardedClientCert,omitempty"`
	// HealthPath is a path that is answered before any policy.
	HealthPath string `json:"healthPath,omitempty"`
	// HTTP10 is true if HTTP/1.0 is served.
	HTTP10 *bool `json:"http10,omitempty"`
	// HTTP3 is true if HTTP/3 is served too, which only listeners for HTTPS do.
	HTTP3 *bool `json:"http3,omitempty"`
}

// ClientCertificates is what is asked of the certificates of clients.
type ClientCertificates struct {
	// Mode is Request, RequireAny, VerifyIfGiven or RequireAndVerify.
	Mode string `json:"mode"`
	// Authorities have the CA certificates that are trusted.
	Authorities []ObjectName `json:"authorities,omitempty"`
	// Revocations have the lists of revoked certificates.
	Revocations []ObjectName `json:"revocations,omitempty"`
}

// ClientTimeouts are how long clients may take. 0s means without limit.
type ClientTimeouts struct {
	// Connection is for a connection, whatever it carries.
	Connection *metav1.Duration `json:"connection,omitempty"`
	// Stream is for a request with its response.
	Stream *metav1.Duration `json:"stream,omitempty"`
	// Handshake is for the TLS handshake.
	Handshake *metav1.Duration `json:"handshake,omitempty"`
	// Request is for a request to be received as a whole.
	Request *metav1.Duration `json:"request,omitempty"`
	// Headers is for the headers of a request to be received.
	Headers *metav1.Duration `json:"headers,omitempty"`
	// Idle is how long a connection without requests is kept.
	Idle *metav1.Duration `json:"idle,omitempty"`
	// TCPIdle is how long a connection without traffic is kept, if it is forwarded without looking into it.
	TCPIdle *metav1.Duration `json:"tcpIdle,omitempty"`
	// StreamIdle is how long a request may be without any traffic.
	StreamIdle *metav1.Duration `json:"streamIdle,omitempty"`
}

// OfClients returns what is said about clients, to say more.
func (e *Effective) OfClients() *Clients {
	if e.Clients == nil {
		e.Clients = &Clients{}
	}
	return e.Clients
}

// Limits returns what is said about time, to say more.
func (c *Clients) Limits() *ClientTimeouts {
	if c.Timeouts == nil {
		c.Timeouts = &ClientTimeouts{}
	}
	return c.Timeouts
}

func (c *Clients) ofConnections() *Clients {
	if c == nil {
		return nil
	}
	kept := Clients{
		Certificates: c.Certificates, BufferLimit: c.BufferLimit, ProxyProtocol: c.ProxyProtocol,
		MaxConnections: c.MaxConnections,
	}
	if t := c.Timeouts; t != nil && (t.Handshake != nil || t.TCPIdle != nil || t.Connection != nil) {
		kept.Timeouts = &ClientTimeouts{Handshake: t.Handshake, TCPIdle: t.TCPIdle, Connection: t.Connection}
	}
	if kept == (Clients{}) {
		return nil
	}
	return &kept
}
