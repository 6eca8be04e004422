package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// BackendTrafficPolicy says how Envoy talks to the backends of the Gateways and routes that it attaches to: timeouts,
// retries, load balancing, and the limits and probes of connections.
//
// The most specific policy wins as a whole: one on a route rule over one on its route, over one on a listener, over
// one on the Gateway. With mergeType it changes the next less specific one instead. Among equals the oldest wins.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=envoy-gateway,shortName=btp
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BackendTrafficPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the policy asks for.
	//
	// +required
	Spec BackendTrafficPolicySpec `json:"spec"`

	// Status says for each affected Gateway and ListenerSet whether the policy was accepted, and why not.
	//
	// +optional
	Status gwapiv1.PolicyStatus `json:"status,omitempty"`
}

// BackendTrafficPolicySpec is what a BackendTrafficPolicy asks for.
//
// +kubebuilder:validation:XValidation:rule="has(self.targetRef) != has(self.targetRefs) || (has(self.targetSelectors) && size(self.targetSelectors) > 0)",message="a policy needs a target: set targetRefs or targetSelectors; targetRef and targetRefs exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.targetRef) || self.targetRef.kind in ['Gateway', 'ListenerSet', 'HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'UDPRoute']",fieldPath=".targetRef.kind",messageExpression=`'a BackendTrafficPolicy cannot target kind "' + self.targetRef.kind + '": write Gateway, ListenerSet, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute'`,message="a BackendTrafficPolicy targets objects of kind Gateway, ListenerSet, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute"
// +kubebuilder:validation:XValidation:rule="!has(self.targetRefs) || self.targetRefs.all(r, r.kind in ['Gateway', 'ListenerSet', 'HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'UDPRoute'])",fieldPath=".targetRefs",message="a BackendTrafficPolicy targets objects of kind Gateway, ListenerSet, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute: change the kind of the entry that has another"
// +kubebuilder:validation:XValidation:rule="!has(self.mergeType) || ((!has(self.targetRef) || self.targetRef.kind.endsWith('Route')) && (!has(self.targetRefs) || self.targetRefs.all(r, r.kind.endsWith('Route'))) && (!has(self.targetSelectors) || self.targetSelectors.all(s, s.kind.endsWith('Route'))))",fieldPath=".mergeType",message="a policy with mergeType can only target routes: change the targets that are none, or remove mergeType"
// +kubebuilder:validation:XValidation:rule="!has(self.requestBuffer) || !has(self.httpUpgrade) || size(self.httpUpgrade) == 0",fieldPath=".requestBuffer",message="bodies cannot be held on a connection that changes to another protocol: remove requestBuffer or httpUpgrade"
// +kubebuilder:validation:XValidation:rule="!has(self.compression) || size(self.compression) == 0 || !has(self.compressor) || size(self.compressor) == 0",fieldPath=".compression",message="compressor says the same: remove compression, which is deprecated"
type BackendTrafficPolicySpec struct {
	PolicyTargetReferences `json:",inline"`
	Merging                `json:",inline"`
	ClusterSettings        `json:",inline"`

	// RateLimit limits how many requests are served. Default: no limit.
	//
	// +optional
	RateLimit *RateLimitSpec `json:"rateLimit,omitempty"`

	// BandwidthLimit limits how fast bodies of requests and responses are forwarded. Default: no limit.
	//
	// +optional
	BandwidthLimit *BandwidthLimit `json:"bandwidthLimit,omitempty"`

	// FaultInjection delays requests, or answers them with an error, to test how clients cope. Default: no fault.
	//
	// +optional
	FaultInjection *FaultInjection `json:"faultInjection,omitempty"`

	// AdmissionControl rejects some requests while too many fail. Default: off.
	//
	// +optional
	AdmissionControl *AdmissionControl `json:"admissionControl,omitempty"`

	// UseClientProtocol forwards requests in the version of HTTP in which clients send them, whatever the backends say
	// about themselves; those of HTTP/3 in HTTP/2. Requests of GRPCRoutes are always forwarded in HTTP/2. Default: the
	// backend decides.
	//
	// +optional
	UseClientProtocol *bool `json:"useClientProtocol,omitempty"`

	// RoutingType is Endpoint or Service. With Service, requests go to the address of a Service or a ServiceImport
	// (clusterIP), and Kubernetes chooses the endpoint of a connection. Those without an address, which are headless, and
	// Backends stay with their endpoints. Default: Endpoint.
	//
	// +optional
	RoutingType *RoutingType `json:"routingType,omitempty"`

	// Compression is the former name of compressor. It is deprecated.
	//
	// +optional
	// +patchMergeKey=type
	// +patchStrategy=merge
	Compression []*Compression `json:"compression,omitempty" patchStrategy:"merge" patchMergeKey:"type"`

	// Compressor says how responses are compressed for clients that take it. The first one is preferred. Default: they
	// are not.
	//
	// +optional
	// +patchMergeKey=type
	// +patchStrategy=merge
	Compressor []*Compression `json:"compressor,omitempty" patchStrategy:"merge" patchMergeKey:"type"`

	// RequestBuffer has requests be forwarded when their bodies are complete. Connections are not upgraded then. Default:
	// bodies are forwarded as they come.
	//
	// +optional
	RequestBuffer *RequestBuffer `json:"requestBuffer,omitempty"`

	// ResponseOverride replaces responses by others. The first entry that matches a response replaces it. Default: none is
	// replaced.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=64
	ResponseOverride []*ResponseOverride `json:"responseOverride,omitempty"`

	// HTTPUpgrade are the protocols that clients may change to on a connection of HTTP. Default: websocket.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +patchMergeKey=type
	// +patchStrategy=merge
	HTTPUpgrade []*ProtocolUpgradeConfig `json:"httpUpgrade,omitempty" patchStrategy:"merge" patchMergeKey:"type"`

	// Telemetry is what Envoy tells about requests: their spans, and statistics. Default: nothing about single routes.
	//
	// +optional
	Telemetry *BackendTelemetry `json:"telemetry,omitempty"`

	// Unread lists the fields of the spec that are not read.
	Unread []UnreadField `json:"-"`
}

// RoutingType says where requests go.
type RoutingType string

// Where requests go.
const (
	ServiceRoutingType  RoutingType = "Service"
	EndpointRoutingType RoutingType = "Endpoint"
)

// UnmarshalJSON decodes the spec, and notes the fields that are not read.
func (s *BackendTrafficPolicySpec) UnmarshalJSON(text []byte) (err error) {
	type spec BackendTrafficPolicySpec // Without this method.
	s.Unread, err = decodeSpec(text, KindBackendTrafficPolicy, (*spec)(s))
	s.keep(text)
	return err
}

// ClusterSettings is how Envoy talks to a group of endpoints.
//
// +kubebuilder:validation:XValidation:rule="!has(self.connection) || !has(self.connection.preconnect) || !has(self.connection.preconnect.predictivePercent) || (has(self.loadBalancer) && self.loadBalancer.type in ['Random', 'RoundRobin'])",fieldPath=".connection.preconnect.predictivePercent",message="predictivePercent works only with loadBalancer.type Random or RoundRobin: remove it or change the type"
type ClusterSettings struct {
	// LoadBalancer chooses an endpoint for each request. Default: LeastRequest.
	//
	// +optional
	LoadBalancer *LoadBalancer `json:"loadBalancer,omitempty"`

	// HealthCheck takes endpoints out that do not answer as they should. Default: none.
	//
	// +optional
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`

	// CircuitBreaker limits what may be open to the endpoints at once.
	//
	// +optional
	CircuitBreaker *CircuitBreaker `json:"circuitBreaker,omitempty"`

	// Retry says which failed requests are sent again. Without it no failed request is. The retry of an HTTPRoute rule
	// wins.
	//
	// +optional
	Retry *Retry `json:"retry,omitempty"`

	// Connection says how connections to endpoints are handled.
	//
	// +optional
	Connection *BackendConnection `json:"connection,omitempty"`

	// DNS says how names of endpoints are resolved. It has no effect on endpoints with addresses.
	//
	// +optional
	DNS *DNS `json:"dns,omitempty"`

	// HTTP2 says how HTTP/2 is spoken to endpoints. It does not turn HTTP/2 on: appProtocol of the backend's port does.
	//
	// +optional
	HTTP2 *HTTP2Settings `json:"http2,omitempty"`

	// ProxyProtocol tells endpoints the address of the client at the beginning of each connection. Default: off.
	//
	// +optional
	ProxyProtocol *ProxyProtocol `json:"proxyProtocol,omitempty"`

	// TCPKeepalive finds connections to endpoints that do not answer any more. Default: off.
	//
	// +optional
	TCPKeepalive *TCPKeepalive `json:"tcpKeepalive,omitempty"`

	// Timeout limits how long connections and requests to the backends may take.
	//
	// +optional
	Timeout *Timeout `json:"timeout,omitempty"`
}

// BackendTrafficPolicyList is a list of BackendTrafficPolicies.
//
// +kubebuilder:object:root=true
type BackendTrafficPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackendTrafficPolicy `json:"items"`
}

// GetTargets returns the references and selectors of spec.
func (p *BackendTrafficPolicy) GetTargets() *PolicyTargetReferences {
	return &p.Spec.PolicyTargetReferences
}

// GetMerging returns how the policy is merged.
func (p *BackendTrafficPolicy) GetMerging() *Merging {
	return &p.Spec.Merging
}

// GetPolicyStatus returns the status.
func (p *BackendTrafficPolicy) GetPolicyStatus() *gwapiv1.PolicyStatus {
	return &p.Status
}

// GetUnread returns the fields of spec that are not read.
func (p *BackendTrafficPolicy) GetUnread() []UnreadField {
	return p.Spec.Unread
}
