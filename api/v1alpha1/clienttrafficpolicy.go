package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// ClientTrafficPolicy says how the listeners that it attaches to treat clients: how their requests are read, and how long
// they may take.
//
// The most specific policy wins as a whole: one on a listener over one on its ListenerSet, over one on the Gateway. Among
// equals the oldest wins. Listeners of one port share parts of Envoy; a policy that asks for something else there than the
// port has is in conflict. Requests to a listener whose policy is broken or in conflict get 500. They are never served
// without the policy.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=envoy-gateway,shortName=ctp
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClientTrafficPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the policy asks for.
	//
	// +required
	Spec ClientTrafficPolicySpec `json:"spec"`

	// Status says for each affected Gateway and ListenerSet whether the policy was accepted, and why not.
	//
	// +optional
	Status gwapiv1.PolicyStatus `json:"status,omitempty"`
}

// ClientTrafficPolicySpec is what a ClientTrafficPolicy asks for. Fields about requests have no effect on listeners that do
// not read requests, which are those for TLS, TCP and UDP. Nothing has an effect on listeners for UDP.
//
// +kubebuilder:validation:XValidation:rule="has(self.targetRef) != has(self.targetRefs) || (has(self.targetSelectors) && size(self.targetSelectors) > 0)",message="a policy needs a target: set targetRefs or targetSelectors; targetRef and targetRefs exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.targetRef) || self.targetRef.kind in ['Gateway', 'ListenerSet']",fieldPath=".targetRef.kind",messageExpression=`'a ClientTrafficPolicy cannot target kind "' + self.targetRef.kind + '": write Gateway or ListenerSet'`,message="a ClientTrafficPolicy targets objects of kind Gateway or ListenerSet"
// +kubebuilder:validation:XValidation:rule="!has(self.targetRefs) || self.targetRefs.all(r, r.kind in ['Gateway', 'ListenerSet'])",fieldPath=".targetRefs",message="a ClientTrafficPolicy targets objects of kind Gateway or ListenerSet: change the kind of the entry that has another"
type ClientTrafficPolicySpec struct {
	PolicyTargetReferences `json:",inline"`

	// TCPKeepalive has the kernel find out which connections are dead. The listeners of a port share it.
	//
	// +optional
	TCPKeepalive *TCPKeepalive `json:"tcpKeepalive,omitempty"`

	// EnableProxyProtocol is the same as proxyProtocol without settings. Deprecated: write proxyProtocol.
	//
	// +optional
	EnableProxyProtocol *bool `json:"enableProxyProtocol,omitempty"`

	// ProxyProtocol reads the header of the PROXY protocol at the beginning of connections. The listeners of a port share
	// it. It is not for HTTP/3.
	//
	// +optional
	ProxyProtocol *ProxyProtocolSettings `json:"proxyProtocol,omitempty"`

	// ClientIPDetection says how the address of the client is found.
	//
	// +optional
	ClientIPDetection *ClientIPDetectionSettings `json:"clientIPDetection,omitempty"`

	// TLS says how TLS with clients is terminated, and which certificates of clients are accepted.
	//
	// +optional
	TLS *ClientTLSSettings `json:"tls,omitempty"`

	// Path says how the paths of requests are brought into one form before a route is chosen for them. Segments such as
	// .. are always resolved.
	//
	// +optional
	Path *PathSettings `json:"path,omitempty"`

	// Headers says how headers of requests are read.
	//
	// +optional
	Headers *HeaderSettings `json:"headers,omitempty"`

	// Connection says how connections of clients are handled.
	//
	// +optional
	Connection *ClientConnection `json:"connection,omitempty"`

	// Timeout limits how long clients may take.
	//
	// +optional
	Timeout *ClientTimeout `json:"timeout,omitempty"`

	// HTTP1 is about HTTP/1 with clients.
	//
	// +optional
	HTTP1 *HTTP1Settings `json:"http1,omitempty"`

	// HTTP2 is about HTTP/2 with clients.
	//
	// +optional
	HTTP2 *HTTP2Settings `json:"http2,omitempty"`

	// HTTP3 makes listeners serve HTTP/3 too, over QUIC on the UDP port with their number. Responses tell clients about it
	// in the header alt-svc. Only listeners for HTTPS that request no certificates of clients can have it, and only if no
	// listener for UDP has the port.
	//
	// +optional
	HTTP3 *HTTP3Settings `json:"http3,omitempty"`

	// GRPC is about gRPC.
	//
	// +optional
	GRPC *GRPCSettings `json:"grpc,omitempty"`

	// HealthCheck answers requests about the health of the Gateway.
	//
	// +optional
	HealthCheck *HealthCheckSettings `json:"healthCheck,omitempty"`

	// Scheme says which scheme backends see. Default: Preserve.
	//
	// +optional
	Scheme *SchemeHeaderTransform `json:"scheme,omitempty"`

	// Unread lists the fields of the spec that are not read.
	Unread []UnreadField `json:"-"`
}

// UnmarshalJSON decodes the spec, and notes the fields that are not read.
func (s *ClientTrafficPolicySpec) UnmarshalJSON(text []byte) (err error) {
	type spec ClientTrafficPolicySpec // Without this method.
	s.Unread, err = decodeSpec(text, KindClientTrafficPolicy, (*spec)(s))
	return err
}

// ClientTrafficPolicyList is a list of ClientTrafficPolicies.
//
// +kubebuilder:object:root=true
type ClientTrafficPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClientTrafficPolicy `json:"items"`
}

// GetTargets returns the references and selectors of spec.
func (p *ClientTrafficPolicy) GetTargets() *PolicyTargetReferences {
	return &p.Spec.PolicyTargetReferences
}

// GetPolicyStatus returns the status.
func (p *ClientTrafficPolicy) GetPolicyStatus() *gwapiv1.PolicyStatus {
	return &p.Status
}

// GetUnread returns the fields of spec that are not read.
func (p *ClientTrafficPolicy) GetUnread() []UnreadField {
	return p.Spec.Unread
}
