package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// LoadBalancer chooses an endpoint for each request.
//
// +union
//
// +kubebuilder:validation:XValidation:rule="self.type == 'ConsistentHash' ? has(self.consistentHash) : !has(self.consistentHash)",fieldPath=".consistentHash",messageExpression=`self.type == 'ConsistentHash' ? 'type is ConsistentHash, so consistentHash must say what is hashed' : 'consistentHash works only with type ConsistentHash, not with ' + self.type + ': remove it or change the type'`,message="consistentHash and type ConsistentHash need each other"
// +kubebuilder:validation:XValidation:rule="self.type == 'BackendUtilization' ? has(self.backendUtilization) : !has(self.backendUtilization)",fieldPath=".backendUtilization",messageExpression=`self.type == 'BackendUtilization' ? 'type is BackendUtilization, so backendUtilization must be set: write {} for the defaults' : 'backendUtilization works only with type BackendUtilization, not with ' + self.type + ': remove it or change the type'`,message="backendUtilization and type BackendUtilization need each other"
// +kubebuilder:validation:XValidation:rule="!(self.type in ['ConsistentHash', 'BackendUtilization']) || !has(self.zoneAware) || !has(self.zoneAware.preferLocal)",fieldPath=".zoneAware.preferLocal",messageExpression=`'preferLocal does not work with type ' + self.type + ': remove it or change the type'`,message="preferLocal does not work with types ConsistentHash and BackendUtilization"
// +kubebuilder:validation:XValidation:rule="!(self.type in ['Random', 'ConsistentHash', 'DynamicModule']) || !has(self.slowStart)",fieldPath=".slowStart",messageExpression=`'slowStart works only with type LeastRequest, RoundRobin or BackendUtilization, not with ' + self.type + ': remove it or change the type'`,message="slowStart works only with type LeastRequest, RoundRobin or BackendUtilization"
// +kubebuilder:validation:XValidation:rule="self.type == 'DynamicModule' ? has(self.dynamicModule) : !has(self.dynamicModule)",fieldPath=".dynamicModule",messageExpression=`self.type == 'DynamicModule' ? 'type is DynamicModule, so dynamicModule must name a module' : 'dynamicModule works only with type DynamicModule, not with ' + self.type + ': remove it or change the type'`,message="dynamicModule and type DynamicModule need each other"
// +kubebuilder:validation:XValidation:rule="self.type != 'DynamicModule' || !has(self.zoneAware)",fieldPath=".zoneAware",message="zoneAware does not work with type DynamicModule, whose module chooses endpoints of all zones: remove it or change the type"
// +kubebuilder:validation:XValidation:rule="self.type != 'DynamicModule' || !has(self.endpointOverride)",fieldPath=".endpointOverride",message="endpointOverride does not work with type DynamicModule: remove it or change the type"
type LoadBalancer struct {
	// Type is the algorithm. ConsistentHash sends requests with the same hash to the same endpoint; LeastRequest
	// chooses the less busy of two random endpoints; BackendUtilization gives busy endpoints fewer requests, by the load
	// that they report; DynamicModule has a module choose that Envoy loads; Random and RoundRobin work as their names say.
	//
	// +unionDiscriminator
	// +required
	Type LoadBalancerType `json:"type"`

	// ConsistentHash says what is hashed when type is ConsistentHash.
	//
	// +optional
	ConsistentHash *ConsistentHash `json:"consistentHash,omitempty"`

	// BackendUtilization says how load that endpoints report becomes their share when type is BackendUtilization.
	//
	// +optional
	BackendUtilization *BackendUtilization `json:"backendUtilization,omitempty"`

	// DynamicModule is the module that chooses endpoints when type is DynamicModule. Requests get 500, and connections are
	// closed, where the Gateway's EnvoyProxy does not have the module.
	//
	// +optional
	DynamicModule *DynamicModuleLBPolicy `json:"dynamicModule,omitempty"`

	// EndpointOverride lets a request name the endpoint that it goes to. Other requests, and those that name no endpoint
	// of the backend, go where type says.
	//
	// +optional
	EndpointOverride *EndpointOverride `json:"endpointOverride,omitempty"`

	// ZoneAware shares out requests by the zones of the endpoints.
	//
	// +optional
	ZoneAware *ZoneAware `json:"zoneAware,omitempty"`

	// SlowStart gives new endpoints a growing share of requests. Only for types LeastRequest, RoundRobin and
	// BackendUtilization.
	//
	// +optional
	SlowStart *SlowStart `json:"slowStart,omitempty"`
}

// LoadBalancerType is a load balancing algorithm.
//
// +kubebuilder:validation:Enum=BackendUtilization;ConsistentHash;DynamicModule;LeastRequest;Random;RoundRobin
type LoadBalancerType string

// The load balancing algorithms.
const (
	BackendUtilizationLoadBalancerType LoadBalancerType = "BackendUtilization"
	ConsistentHashLoadBalancerType     LoadBalancerType = "ConsistentHash"
	DynamicModuleLoadBalancerType      LoadBalancerType = "DynamicModule"
	LeastRequestLoadBalancerType       LoadBalancerType = "LeastRequest"
	RandomLoadBalancerType             LoadBalancerType = "Random"
	RoundRobinLoadBalancerType         LoadBalancerType = "RoundRobin"
)

// ConsistentHash says what is hashed to choose an endpoint: exactly the part that type names.
//
// +union
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Header' ? has(self.header) : !has(self.header)",fieldPath=".header",messageExpression=`self.type == 'Header' ? 'type is Header, so header must be set' : 'header works only with type Header, not with ' + self.type + ': remove it or change the type'`,message="header and type Header need each other"
// +kubebuilder:validation:XValidation:rule="self.type == 'Headers' ? has(self.headers) : !has(self.headers)",fieldPath=".headers",messageExpression=`self.type == 'Headers' ? 'type is Headers, so headers must be set' : 'headers works only with type Headers, not with ' + self.type + ': remove it or change the type'`,message="headers and type Headers need each other"
// +kubebuilder:validation:XValidation:rule="self.type == 'Cookie' ? has(self.cookie) : !has(self.cookie)",fieldPath=".cookie",messageExpression=`self.type == 'Cookie' ? 'type is Cookie, so cookie must be set' : 'cookie works only with type Cookie, not with ' + self.type + ': remove it or change the type'`,message="cookie and type Cookie need each other"
// +kubebuilder:validation:XValidation:rule="self.type == 'QueryParams' ? has(self.queryParams) : !has(self.queryParams)",fieldPath=".queryParams",messageExpression=`self.type == 'QueryParams' ? 'type is QueryParams, so queryParams must be set' : 'queryParams works only with type QueryParams, not with ' + self.type + ': remove it or change the type'`,message="queryParams and type QueryParams need each other"
type ConsistentHash struct {
	// Type is what is hashed: the client's address (SourceIP), one header (Header), several headers (Headers), a
	// cookie (Cookie) or query parameters (QueryParams).
	//
	// +unionDiscriminator
	// +required
	Type ConsistentHashType `json:"type"`

	// Header is the header that is hashed when type is Header.
	//
	// Deprecated: write type Headers and headers.
	//
	// +optional
	Header *Header `json:"header,omitempty"`

	// Headers are the headers that are hashed when type is Headers.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=64
	Headers []*Header `json:"headers,omitempty"`

	// Cookie is the cookie that is hashed when type is Cookie.
	//
	// +optional
	Cookie *Cookie `json:"cookie,omitempty"`

	// QueryParams are the query parameters that are hashed when type is QueryParams.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=64
	QueryParams []*QueryParam `json:"queryParams,omitempty"`

	// TableSize is the number of entries of the Maglev table: a prime number, at least as large as the number of
	// endpoints times the least common multiple of their weights.
	//
	// +optional
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=5000011
	// +kubebuilder:default=65537
	TableSize *uint64 `json:"tableSize,omitempty"`
}

// ConsistentHashType is what is hashed to choose an endpoint.
//
// +kubebuilder:validation:Enum=SourceIP;Header;Headers;Cookie;QueryParams
type ConsistentHashType string

// What can be hashed to choose an endpoint.
const (
	SourceIPConsistentHashType    ConsistentHashType = "SourceIP"
	HeaderConsistentHashType      ConsistentHashType = "Header"
	HeadersConsistentHashType     ConsistentHashType = "Headers"
	CookieConsistentHashType      ConsistentHashType = "Cookie"
	QueryParamsConsistentHashType ConsistentHashType = "QueryParams"
)

// Header is a request header that is hashed.
type Header struct {
	// Name of the header, in any case.
	//
	// +required
	Name string `json:"name"`
}

// QueryParam is a query parameter that is hashed.
type QueryParam struct {
	// Name of the query parameter, case-sensitive.
	//
	// +required
	Name string `json:"name"`
}

// Cookie is a cookie that is hashed, and set in the response when the request has none.
type Cookie struct {
	// Name of the cookie.
	//
	// +required
	Name string `json:"name"`

	// TTL makes Envoy set the cookie when a request has none, with this lifetime; 0s makes a session cookie. Without
	// it a request that has no such cookie goes to a random endpoint.
	//
	// +optional
	TTL *gwapiv1.Duration `json:"ttl,omitempty"`

	// Attributes are written into the cookie that Envoy sets, such as SameSite: Strict.
	//
	// +optional
	Attributes map[string]string `json:"attributes,omitempty"`
}

// SlowStart gives new endpoints a growing share of requests.
type SlowStart struct {
	// Window is how long after its first appearance an endpoint has less than its full share, which grows linearly.
	//
	// +required
	Window gwapiv1.Duration `json:"window"`
}
