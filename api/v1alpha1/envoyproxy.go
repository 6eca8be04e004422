package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// EnvoyProxy holds the settings of an Envoy fleet: how it is deployed, how it logs and how it shuts down. It takes
// effect where parametersRef of a GatewayClass, or infrastructure.parametersRef of a Gateway, names it; the latter
// replaces the former as a whole.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=envoyproxies,singular=envoyproxy,categories=envoy-gateway,shortName=eproxy
type EnvoyProxy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the desired state of the fleet.
	//
	// +optional
	Spec EnvoyProxySpec `json:"spec,omitempty"`

	// Status says for each GatewayClass and Gateway that refers to the object whether it was accepted.
	//
	// +optional
	Status EnvoyProxyStatus `json:"status,omitempty"`
}

// EnvoyProxySpec is the desired state of an Envoy fleet.
type EnvoyProxySpec struct {
	// Provider says where Envoys run and with which settings. Default: Kubernetes with its defaults.
	//
	// +optional
	Provider *EnvoyProxyProvider `json:"provider,omitempty"`

	// Logging sets the levels of Envoy's own log, which goes to standard error.
	//
	// +optional
	// +kubebuilder:default={level: {default: warn}}
	Logging ProxyLogging `json:"logging,omitempty"`

	// Concurrency is the number of worker threads of each Envoy; 0 runs one too. Default: one for each CPU that it may
	// use.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Concurrency *int32 `json:"concurrency,omitempty"`

	// IPFamily says at which addresses of their pods Envoys accept connections, and which addresses the fleet's Service
	// gets: IPv4, IPv6, or one of each (DualStack), for which the cluster must support both. A Service never changes
	// its first family: to change from IPv4 or DualStack to IPv6 or back, delete the Service, and it is created again.
	// Default: Envoys listen at IPv4 addresses, and the cluster chooses the Service's family. The addresses of backends
	// do not depend on it.
	//
	// +optional
	IPFamily *IPFamily `json:"ipFamily,omitempty"`

	// RoutingType is the routingType of all routes of the fleet for which no BackendTrafficPolicy says another one:
	// Endpoint, or Service. Default: Endpoint.
	//
	// +optional
	RoutingType *RoutingType `json:"routingType,omitempty"`

	// ExtraArgs are appended to Envoy's command line.
	//
	// +optional
	ExtraArgs []string `json:"extraArgs,omitempty"`

	// Shutdown says how an Envoy closes its connections when it is stopped.
	//
	// +optional
	Shutdown *ShutdownConfig `json:"shutdown,omitempty"`

	// DynamicModules are the shared libraries that policies can have Envoys load.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	DynamicModules []DynamicModule `json:"dynamicModules,omitempty"`

	// Unread lists the fields of the spec that are not read.
	Unread []UnreadField `json:"-"`
}

// UnmarshalJSON decodes the spec, and notes the fields that are not read.
func (s *EnvoyProxySpec) UnmarshalJSON(text []byte) (err error) {
	type spec EnvoyProxySpec // Without this method.
	s.Unread, err = decodeSpec(text, KindEnvoyProxy, (*spec)(s))
	return err
}

// IPFamily is a family of addresses, or both.
//
// +kubebuilder:validation:Enum=IPv4;IPv6;DualStack
type IPFamily string

// The families of addresses.
const (
	IPFamilyIPv4 IPFamily = "IPv4"
	IPFamilyIPv6 IPFamily = "IPv6"
	// IPFamilyDualStack is IPv4 and IPv6.
	IPFamilyDualStack IPFamily = "DualStack"
)

// EnvoyProxyProvider says where Envoys run.
//
// +union
type EnvoyProxyProvider struct {
	// Type is where Envoys run.
	//
	// +unionDiscriminator
	// +required
	Type EnvoyProxyProviderType `json:"type"`

	// Kubernetes holds the settings of the objects that run Envoy when type is Kubernetes.
	//
	// +optional
	Kubernetes *EnvoyProxyKubernetesProvider `json:"kubernetes,omitempty"`
}

// EnvoyProxyProviderType is where Envoys run.
//
// +kubebuilder:validation:Enum=Kubernetes
type EnvoyProxyProviderType string

// EnvoyProxyProviderTypeKubernetes runs Envoys as pods of the cluster.
const EnvoyProxyProviderTypeKubernetes EnvoyProxyProviderType = "Kubernetes"

// ProxyLogging sets the levels of Envoy's own log.
type ProxyLogging struct {
	// Level maps a component of Envoy to its log level. The components are Envoy's logger names, such as upstream,
	// http, connection, admin, client, filter, main, router or runtime; default applies to all others.
	//
	// +optional
	// +kubebuilder:default={default: warn}
	Level map[ProxyLogComponent]LogLevel `json:"level,omitempty"`
}

// ProxyLogComponent is the name of one of Envoy's loggers, or default.
type ProxyLogComponent string

// LogComponentDefault applies to all of Envoy's loggers that are not named.
const LogComponentDefault ProxyLogComponent = "default"

// LogLevel is how much Envoy logs; each level includes those after it.
//
// +kubebuilder:validation:Enum=trace;debug;info;warn;error;critical;off
type LogLevel string

// The levels of Envoy's log.
const (
	LogLevelTrace    LogLevel = "trace"
	LogLevelDebug    LogLevel = "debug"
	LogLevelInfo     LogLevel = "info"
	LogLevelWarn     LogLevel = "warn"
	LogLevelError    LogLevel = "error"
	LogLevelCritical LogLevel = "critical"
	LogLevelOff      LogLevel = "off"
)

// ShutdownConfig says how an Envoy closes its connections when it is stopped: it fails its health check, asks clients
// to disconnect for at least minDrainDuration, and stops when no connection is left, or in any case when drainTimeout
// is over.
type ShutdownConfig struct {
	// HealthCheckFailureDelay is the time between failing the health check and draining, for load balancers that are
	// slow to notice. Default: 0s.
	//
	// +optional
	HealthCheckFailureDelay *gwapiv1.Duration `json:"healthCheckFailureDelay,omitempty"`

	// DrainTimeout is the longest time to wait for open connections. Default: 60s.
	//
	// +optional
	DrainTimeout *gwapiv1.Duration `json:"drainTimeout,omitempty"`

	// MinDrainDuration is the shortest time before Envoy stops, even if it has few connections. A shorter drainTimeout
	// wins. Default: 10s.
	//
	// +optional
	MinDrainDuration *gwapiv1.Duration `json:"minDrainDuration,omitempty"`
}

// EnvoyProxyStatus says where an EnvoyProxy takes effect.
type EnvoyProxyStatus struct {
	// Ancestors holds one entry for each GatewayClass and Gateway that refers to the EnvoyProxy.
	//
	// +optional
	// +listType=atomic
	Ancestors []EnvoyProxyAncestorStatus `json:"ancestors,omitempty"`
}

// EnvoyProxyAncestorStatus says whether one GatewayClass or Gateway can use the EnvoyProxy.
type EnvoyProxyAncestorStatus struct {
	// AncestorRef is the GatewayClass or Gateway.
	//
	// +required
	AncestorRef gwapiv1.ParentReference `json:"ancestorRef"`

	// Conditions holds condition Accepted.
	//
	// +required
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions"`
}

// EnvoyProxyList is a list of EnvoyProxies.
//
// +kubebuilder:object:root=true
type EnvoyProxyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EnvoyProxy `json:"items"`
}
