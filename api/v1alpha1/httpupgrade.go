package v1alpha1

// ProtocolUpgradeConfig is a protocol that a client may change to.
//
// +kubebuilder:validation:XValidation:rule="!has(self.connect) || self.type == 'CONNECT'",fieldPath=".connect",messageExpression=`'connect is about type CONNECT, and the type is "' + self.type + '": remove connect or write type CONNECT'`,message="connect is about type CONNECT: remove it or write type CONNECT"
type ProtocolUpgradeConfig struct {
	// Type is the name of the protocol in the header Upgrade, such as websocket or spdy/3.1, in any case. CONNECT stands
	// for the method of this name, by which clients ask for tunnels.
	//
	// +required
	// +kubebuilder:validation:MaxLength=256
	Type string `json:"type"`

	// Connect says what is done with requests of method CONNECT.
	//
	// +optional
	Connect *ConnectConfig `json:"connect,omitempty"`
}

// ConnectConfig says what is done with requests of method CONNECT.
type ConnectConfig struct {
	// Terminate has Envoy be the end of the tunnel, and forward what comes out of it to the backend as a connection of TCP.
	// Default: false, which forwards the request to the backend, a proxy.
	//
	// +optional
	Terminate *bool `json:"terminate,omitempty"`
}
