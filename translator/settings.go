package translator

import "time"

// Settings are what the translation must know of the installation. They do not change while the process runs.
type Settings struct {
	// ControllerName is the GatewayClasses' controllerName that is served.
	ControllerName string
	// InGatewayNamespace reports whether Envoys run in the namespace of their Gateway rather than in that of the
	// control plane.
	InGatewayNamespace bool
	// Namespace is that of the control plane, empty if there is none, as for files.
	Namespace string
	// ExternalNames lets Services of type ExternalName be backends.
	ExternalNames bool
	// RouteMemory is how much memory of each Envoy one route may take, in bytes; 0 stands for DefaultRouteMemory.
	RouteMemory int64
	// ExpiryWarning is how long before a certificate expires the status tells of it; 0 stands for DefaultExpiryWarning.
	ExpiryWarning time.Duration
	// ClusterResourceNamespace is where cert-manager has the Secrets of ClusterIssuers; empty stands for
	// DefaultClusterResourceNamespace.
	ClusterResourceNamespace string
	// EnabledKinds are the enabled ones of the kinds that have no effect unless the operator enables them: dormant
	// kinds of policies (policies.Kind), XBackendTrafficPolicy and Backend.
	EnabledKinds []string
	// RetriesDisabled keeps requests that no endpoint got from being tried at another one, unless a route or a policy
	// says so.
	RetriesDisabled bool
	// RateLimits is the service that counts requests for all Envoys, nil if there is none.
	RateLimits *RateLimits
}
