package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Backend is what routes can send requests to beside Services: endpoints inside or outside of the cluster, by their
// addresses or their DNS names. A backendRef names it by group gateway.envoyproxy.io and kind Backend; its port is not
// read, since each endpoint has its own.
//
// Who may write Backends can have Envoy call every host that it can reach, so the kind takes effect only where
// extensionApis.enableBackend of the control plane's configuration allows it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=envoy-gateway,shortName=be
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Backend struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what the endpoints are, and how they are spoken to.
	//
	// +required
	Spec BackendSpec `json:"spec"`

	// Status says whether the Backend was accepted, and why not.
	//
	// +optional
	Status BackendStatus `json:"status,omitempty"`
}

// BackendSpec says what the endpoints of a Backend are, and how they are spoken to.
//
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'DynamicResolver' || !has(self.endpoints)",fieldPath=".endpoints",message="type DynamicResolver takes the endpoint from each request: remove endpoints, or write type Endpoints"
type BackendSpec struct {
	// Type is where the endpoints are found: Endpoints for those that are listed here, DynamicResolver for the host that
	// each request names. DynamicResolver is not served yet.
	//
	// +optional
	// +kubebuilder:default=Endpoints
	Type *BackendType `json:"type,omitempty"`

	// Endpoints are where requests are sent, in turn as the load balancer of the route says. Names and addresses do not go
	// together in one Backend.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="self.all(e, has(e.fqdn)) || !self.exists(e, has(e.fqdn))",message="names and addresses do not go together: write fqdn for each of the endpoints, or for none"
	Endpoints []BackendEndpoint `json:"endpoints,omitempty"`

	// AppProtocols are what the endpoints speak: gateway.envoyproxy.io/h2c is HTTP/2 without TLS, gateway.envoyproxy.io/ws
	// and wss are WebSockets, for which HTTP/1.1 is spoken. wss needs a BackendTLSPolicy. Default: HTTP/1.1, or what TLS
	// agrees on.
	//
	// +optional
	AppProtocols []AppProtocol `json:"appProtocols,omitempty"`

	// Fallback keeps requests from the Backend as long as the other backends of the rule can take them. Then its weight
	// counts among the fallbacks of the rule. If all backends of a rule are fallbacks, they are like any others.
	//
	// +optional
	Fallback *bool `json:"fallback,omitempty"`

	// Unread is what of the spec nobody reads.
	Unread []UnreadField `json:"-"`
}

// UnmarshalJSON decodes the spec, and notes what of it is not read.
func (s *BackendSpec) UnmarshalJSON(text []byte) (err error) {
	type spec BackendSpec // Without this method.
	s.Unread, err = decodeSpec(text, KindBackend, (*spec)(s))
	return err
}

// BackendType is where the endpoints of a Backend are found.
//
// +kubebuilder:validation:Enum=Endpoints;DynamicResolver
type BackendType string

// Where the endpoints of a Backend are found.
const (
	BackendTypeEndpoints       BackendType = "Endpoints"
	BackendTypeDynamicResolver BackendType = "DynamicResolver"
)

// AppProtocol is what endpoints speak.
//
// +kubebuilder:validation:Enum=gateway.envoyproxy.io/h2c;gateway.envoyproxy.io/ws;gateway.envoyproxy.io/wss
type AppProtocol string

// What endpoints speak.
const (
	AppProtocolH2C AppProtocol = "gateway.envoyproxy.io/h2c"
	AppProtocolWS  AppProtocol = "gateway.envoyproxy.io/ws"
	AppProtocolWSS AppProtocol = "gateway.envoyproxy.io/wss"
)

// BackendEndpoint is one endpoint: a DNS name or an address, each with a port.
//
// +kubebuilder:validation:XValidation:rule="!has(self.fqdn) || !has(self.ip)",fieldPath=".ip",message="an endpoint is a name or an address: remove fqdn or ip"
type BackendEndpoint struct {
	// Hostname is what the endpoint is called where Envoy writes the host of the endpoint itself, instead of its name or
	// address.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Hostname *string `json:"hostname,omitempty"`

	// FQDN is a DNS name, which each Envoy resolves itself.
	//
	// +optional
	FQDN *FQDNEndpoint `json:"fqdn,omitempty"`

	// IP is an address.
	//
	// +optional
	IP *IPEndpoint `json:"ip,omitempty"`

	// Zone is where the endpoint is, such as a zone of a cloud.
	//
	// +optional
	Zone *string `json:"zone,omitempty"`
}

// FQDNEndpoint is an endpoint by its DNS name.
type FQDNEndpoint struct {
	// Hostname is the whole name, with at least two parts, such as api.example.com. It is looked up as it is, without the
	// domains that a pod searches; a dot at its end changes nothing. An address is no name, and neither is localhost.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\.?$`
	Hostname string `json:"hostname"`

	// Port is the port there, from 1 to 65535, but for 19000 to 19003, which Envoy's own pods have.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// IPEndpoint is an endpoint by its address.
type IPEndpoint struct {
	// Address is an IPv4 or IPv6 address. Those that lead to Envoy's own host, to its link (such as 169.254.169.254, where
	// clouds have the credentials of machines) or to several hosts are refused.
	//
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",messageExpression=`'"' + self + '" is no IP address: write one such as 10.0.0.1 or 2001:db8::1, or a name as fqdn'`,message="an IP address is needed"
	Address string `json:"address"`

	// Port is the port there, from 1 to 65535.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// BackendStatus says whether a Backend was accepted.
type BackendStatus struct {
	// Conditions are Accepted, which is False if requests are not sent to the Backend as it is.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BackendList is a list of Backends.
//
// +kubebuilder:object:root=true
type BackendList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Backend `json:"items"`
}
