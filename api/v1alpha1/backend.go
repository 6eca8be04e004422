package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Backend is a list of endpoints inside or outside of the cluster, with IP addresses or DNS names. Routes can send
// requests to it as to a Service: a backendRef names it with group gateway.envoyproxy.io and kind Backend. The port of
// the backendRef is not read, because each endpoint has its own port.
//
// A user who can write Backends can make Envoy call every host that it can reach. So the kind takes effect only if
// extensionApis.enableBackend of the control plane's configuration is set.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=envoy-gateway,shortName=be
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Backend struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec has the endpoints and their protocol.
	//
	// +required
	Spec BackendSpec `json:"spec"`

	// Status says whether the Backend was accepted, and why not.
	//
	// +optional
	Status BackendStatus `json:"status,omitempty"`
}

// BackendSpec has the endpoints of a Backend and their protocol.
//
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'DynamicResolver' || !has(self.endpoints)",fieldPath=".endpoints",message="type DynamicResolver takes the endpoint from each request: remove endpoints, or write type Endpoints"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'DynamicResolver' || !has(self.tls) || !has(self.tls.autoSNIFromEndpointHostname) || !self.tls.autoSNIFromEndpointHostname",fieldPath=".tls.autoSNIFromEndpointHostname",message="type DynamicResolver has no endpoints with a host name of their own, and takes the server name from each request: remove autoSNIFromEndpointHostname"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || !has(self.tls.autoSNIFromEndpointHostname) || !self.tls.autoSNIFromEndpointHostname || !has(self.endpoints) || self.endpoints.all(e, has(e.fqdn) || has(e.hostname))",fieldPath=".endpoints",message="autoSNIFromEndpointHostname takes the server name from the endpoint, and one of them has no name: write hostname for each endpoint without fqdn, or write sni"
type BackendSpec struct {
	// Type says where the endpoints come from. Endpoints means the list in this object. DynamicResolver means the host of
	// each request: Envoy resolves it and sends the request there, to port 80, or 443 with TLS, if the host has no port.
	// A Backend of this type must be the only one of a rule of an HTTPRoute or GRPCRoute. Nothing is sent to addresses of
	// Envoy's own host and its link, and nothing to the ports of Envoy's own pods: requests are answered with 503 and 403.
	// With a TLSRoute on a listener that passes TLS through, it means port 443 of the server name of each connection.
	//
	// +optional
	// +kubebuilder:default=Endpoints
	Type *BackendType `json:"type,omitempty"`

	// Endpoints get the requests. The load balancer of the route chooses among them. A Backend has either DNS names or
	// addresses, not both.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="self.all(e, has(e.fqdn)) || !self.exists(e, has(e.fqdn))",message="names and addresses do not go together: write fqdn for each of the endpoints, or for none"
	Endpoints []BackendEndpoint `json:"endpoints,omitempty"`

	// AppProtocols are the protocols of the endpoints. gateway.envoyproxy.io/h2c is HTTP/2 without TLS.
	// gateway.envoyproxy.io/ws and wss are WebSockets over HTTP/1.1; wss needs tls or a BackendTLSPolicy. Default: HTTP/1.1,
	// or the protocol that TLS negotiates.
	//
	// +optional
	AppProtocols []AppProtocol `json:"appProtocols,omitempty"`

	// TLS says that Envoy uses TLS to the endpoints, and how it verifies them. If a BackendTLSPolicy is for the Backend too,
	// its CA certificates and names win, and the rest is taken from here.
	//
	// +optional
	TLS *BackendTLSSettings `json:"tls,omitempty"`

	// Fallback says whether the Backend gets requests only when no other backend of the rule has a usable endpoint. Its
	// weight then counts among the fallbacks of the rule. If all backends of a rule are fallbacks, they are normal
	// backends.
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

// BackendType says where the endpoints of a Backend come from.
//
// +kubebuilder:validation:Enum=Endpoints;DynamicResolver
type BackendType string

// The types of Backends.
const (
	BackendTypeEndpoints       BackendType = "Endpoints"
	BackendTypeDynamicResolver BackendType = "DynamicResolver"
)

// AppProtocol is a protocol of endpoints.
//
// +kubebuilder:validation:Enum=gateway.envoyproxy.io/h2c;gateway.envoyproxy.io/ws;gateway.envoyproxy.io/wss
type AppProtocol string

// The protocols of endpoints.
const (
	AppProtocolH2C AppProtocol = "gateway.envoyproxy.io/h2c"
	AppProtocolWS  AppProtocol = "gateway.envoyproxy.io/ws"
	AppProtocolWSS AppProtocol = "gateway.envoyproxy.io/wss"
)

// BackendEndpoint is one endpoint: a DNS name or an address, each with a port.
//
// +kubebuilder:validation:XValidation:rule="!has(self.unix) || (!has(self.fqdn) && !has(self.ip))",fieldPath=".unix",message="an endpoint is a socket, a name or an address: remove all but one of unix, fqdn and ip"
// +kubebuilder:validation:XValidation:rule="!has(self.fqdn) || !has(self.ip)",fieldPath=".ip",message="an endpoint is a name or an address: remove fqdn or ip"
type BackendEndpoint struct {
	// Hostname is the host name of the endpoint, if Envoy rewrites the host of requests to that of the endpoint. Default:
	// its DNS name.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Hostname *string `json:"hostname,omitempty"`

	// FQDN is a DNS name. Each Envoy resolves it itself.
	//
	// +optional
	FQDN *FQDNEndpoint `json:"fqdn,omitempty"`

	// IP is an address.
	//
	// +optional
	IP *IPEndpoint `json:"ip,omitempty"`

	// Unix is a Unix socket in the pods of Envoy. It is not served: a Backend with one is not accepted.
	//
	// +optional
	Unix *UnixSocket `json:"unix,omitempty"`

	// Zone is the location of the endpoint, such as a zone of a cloud.
	//
	// +optional
	Zone *string `json:"zone,omitempty"`
}

// FQDNEndpoint is an endpoint by its DNS name.
type FQDNEndpoint struct {
	// Hostname is a full DNS name with at least two labels, such as api.example.com. It is resolved as it is, without
	// search domains; a dot at its end makes no difference. IP addresses and names below localhost are rejected.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\.?$`
	Hostname string `json:"hostname"`

	// Port is the port of the endpoint, from 1 to 65535. The ports 19000 to 19003 of Envoy's own pods are rejected.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// IPEndpoint is an endpoint by its address.
type IPEndpoint struct {
	// Address is an IPv4 or IPv6 address. Loopback, unspecified, multicast and link-local addresses are rejected. An
	// example of the last is 169.254.169.254, where clouds provide the credentials of machines. The other addresses at
	// which clouds provide them, such as fd00:ec2::254, are rejected too.
	//
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",messageExpression=`'"' + self + '" is not an IP address: write one such as 10.0.0.1 or 2001:db8::1, or a name as fqdn'`,message="an IP address is needed"
	Address string `json:"address"`

	// Port is the port of the endpoint, from 1 to 65535.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// UnixSocket is an endpoint in the pods of Envoy.
type UnixSocket struct {
	// Path is the path of the socket in the file system of Envoy.
	//
	// +required
	// +kubebuilder:validation:MaxLength=108
	Path string `json:"path"`
}

// BackendStatus says whether a Backend was accepted.
type BackendStatus struct {
	// Conditions has the condition Accepted. It is False if nothing is sent to the Backend. FieldsEffective is False if some
	// of its fields have no effect.
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
