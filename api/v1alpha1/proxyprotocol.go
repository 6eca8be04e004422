package v1alpha1

// ProxyProtocol tells endpoints the address of the client at the beginning of each connection (PROXY protocol of
// HAProxy). Endpoints must expect it. Clients with different addresses never share a connection.
type ProxyProtocol struct {
	// Version is that of the protocol: V1 is text, V2 is binary.
	//
	// +required
	Version ProxyProtocolVersion `json:"version"`
}

// ProxyProtocolVersion is a version of the PROXY protocol.
//
// +kubebuilder:validation:Enum=V1;V2
type ProxyProtocolVersion string

// The versions of the PROXY protocol.
const (
	ProxyProtocolVersionV1 ProxyProtocolVersion = "V1"
	ProxyProtocolVersionV2 ProxyProtocolVersion = "V2"
)
