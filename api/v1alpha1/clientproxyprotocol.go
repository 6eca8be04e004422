package v1alpha1

// ProxyProtocolSettings reads the header of the PROXY protocol, version 1 or 2, at the beginning of connections. It has
// the address of the client.
type ProxyProtocolSettings struct {
	// Optional serves connections without the header too. Then anybody who can connect can send one, with any address.
	//
	// +optional
	Optional *bool `json:"optional,omitempty"`
}
