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

	// Spec is how the fleet is to be.
	//
	// +optional
	Spec EnvoyProxySpec `json:"spec,omitempty"`

	// Status says for each GatewayClass and Gateway that refers to the object whether it was accepted.
	//
	// +optional
	Status EnvoyProxyStatus `json:"status,omitempty"`
}

// EnvoyProxySpec is how an Envoy fleet is to be.
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

	// IPFamily says at which of their pods' addresses Envoys take connections, and which addresses the fleet's Service
	// gets: IPv4, IPv6, or one of each (DualStack), for which the cluster has to have both. A Service keeps its first
	// family for good: to go from IPv4 or DualStack to IPv6 or back, delete it, and it is made anew. Default: Envoys listen
	// at IPv4 addresses, and the cluster chooses the Service's family. Which addresses backends have does not depend on it.
	//
	// +optional
	IPFamily *IPFamily `json:"ipFamily,omitempty"`

	// ExtraArgs are appended to Envoy's command line.
	//
	// +optional
	ExtraArgs []string `json:"extraArgs,omitempty"`

	// Shutdown says how an Envoy that is told to stop lets go of its connections.
	//
	// +optional
	Shutdown *ShutdownConfig `json:"shutdown,omitempty"`

	// Unread is what of the spec nobody reads.
	Unread []UnreadField `json:"-"`
}

// UnmarshalJSON decodes the spec, and notes what of it is not read.
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
	// http, connection, admin, client, filter, main, router or runtime; default stands for all that are not named.
	//
	// +optional
	// +kubebuilder:default={default: warn}
	Level map[ProxyLogComponent]LogLevel `json:"level,omitempty"`
}

// ProxyLogComponent is the name of one of Envoy's loggers, or default.
type ProxyLogComponent string

// LogComponentDefault stands for all of Envoy's loggers that are not named.
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

// ShutdownConfig says how an Envoy that is told to stop lets go of its connections: it fails its health check, asks
// clients to leave for at least minDrainDuration, and stops when no connection is left, or at any rate when drainTimeout is over.
type ShutdownConfig struct {
	// HealthCheckFailureDelay is the time between failing the health check and draining, for load balancers that are
	// slow to notice. Default: 0s.
	//
	// +optional
	HealthCheckFailureDelay *gwapiv1.Duration `json:"healthCheckFailureDelay,omitempty"`

	// DrainTimeout is the longest time that open connections are waited for. Default: 60s.
	//
	// +optional
	DrainTimeout *gwapiv1.Duration `json:"drainTimeout,omitempty"`

	// MinDrainDuration is the shortest time before Envoy stops, however few connections it has. A shorter drainTimeout
	// ends it. Default: 10s.
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
