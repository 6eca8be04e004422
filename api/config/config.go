// Package config reads the configuration file of the control plane: a document of kind EnvoyGateway in API version
// gateway.envoyproxy.io/v1alpha1, with the fields of Envoy Gateway's file of that name. It is a file, not a CRD. An
// unknown field is an error, so that nobody relies on a setting without effect.
package config

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/duration"
)

// The default values of fields, as in Envoy Gateway.
const (
	DefaultControllerName = "gateway.envoyproxy.io/gatewayclass-controller"
	DefaultLeaseDuration  = "15s"
	DefaultRenewDeadline  = "10s"
	DefaultRetryPeriod    = "2s"
)

// DefaultRouteMemory is the default of limits.routeMemory. Envoy Gateway has no such field.
const DefaultRouteMemory = "64Mi"

// The defaults of fetching.largeContent.
const (
	DefaultMaxSize   = "64Mi"
	DefaultCacheSize = "512Mi"
)

// EnvoyGateway is the configuration of the control plane.
type EnvoyGateway struct {
	metav1.TypeMeta `json:",inline"`

	// Gateway says which GatewayClasses this control plane serves.
	Gateway Gateway `json:"gateway,omitzero"`

	// Provider says where objects come from and where Envoys run.
	Provider Provider `json:"provider,omitzero"`

	// Logging sets the levels of the control plane's log.
	Logging Logging `json:"logging,omitzero"`

	// ExtensionAPIs switches kinds on that are off by default.
	ExtensionAPIs ExtensionAPIs `json:"extensionApis,omitzero"`

	// GatewayAPI switches kinds of Gateway API's experimental channel on that are off by default.
	GatewayAPI GatewayAPI `json:"gatewayAPI,omitzero"`

	// Backends says how backends are reached where neither a route nor a policy says. Envoy Gateway has no such field.
	Backends Backends `json:"backends,omitzero"`

	// RateLimit says how requests are counted for all Envoys together. Default: not at all.
	RateLimit *RateLimit `json:"rateLimit,omitempty"`

	// Limits keep one object from taking what others need. Envoy Gateway has no such field.
	Limits Limits `json:"limits,omitzero"`

	// Fetching says from where the control plane fetches what policies name by a URL. Envoy Gateway has no such field.
	Fetching Fetching `json:"fetching,omitzero"`
}

// Fetching says from which addresses the control plane fetches what policies name by a URL. Without it, these are all
// addresses except loopback, link-local, multicast and unspecified addresses, the pod's own, and the metadata services
// of clouds. Of the CIDRs that contain an address, the longest decides; a CIDR that is both allowed and denied is
// denied.
type Fetching struct {
	// AllowedCIDRs are addresses from which it may fetch, such as 10.0.0.0/8. Default: none.
	AllowedCIDRs []string `json:"allowedCIDRs,omitempty"`

	// DeniedCIDRs are addresses from which it may not fetch, such as 0.0.0.0/0. Default: none.
	DeniedCIDRs []string `json:"deniedCIDRs,omitempty"`

	// LargeContent limits content that is too large for memory, such as Wasm modules.
	LargeContent LargeContent `json:"largeContent,omitzero"`
}

// LargeContent limits what each replica keeps on its disk. Both are quantities of Kubernetes, such as 64Mi or 1Gi.
type LargeContent struct {
	// MaxSize is the maximum size of each content. Default: 64Mi.
	MaxSize string `json:"maxSize,omitempty"`

	// CacheSize is the maximum size of all of it together, at least twice maxSize, because new content is fetched while
	// the one before it is in use. Default: 512Mi.
	CacheSize string `json:"cacheSize,omitempty"`
}

// Bytes are the sizes of a validated configuration.
func (l *LargeContent) Bytes() (maxSize, cacheSize int64) {
	return bytesOf(l.MaxSize), bytesOf(l.CacheSize)
}

// Prefixes returns the CIDRs of a validated configuration.
func (f *Fetching) Prefixes() (allowed, denied []netip.Prefix) {
	return prefixes(f.AllowedCIDRs), prefixes(f.DeniedCIDRs)
}

func prefixes(cidrs []string) (all []netip.Prefix) {
	for _, cidr := range cidrs {
		if p, err := netip.ParsePrefix(cidr); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// Limits keep one object from taking what others need.
type Limits struct {
	// RouteMemory is how much memory of each Envoy of a Gateway one route may take, estimated from above, as a quantity
	// of Kubernetes such as 64Mi or 1Gi. Rules that do not fit answer 500. Default: 64Mi.
	RouteMemory string `json:"routeMemory,omitempty"`
}

// RouteMemoryBytes is routeMemory of a validated configuration in bytes.
func (l *Limits) RouteMemoryBytes() int64 { return bytesOf(l.RouteMemory) }

// bytesOf is a quantity in bytes, 0 if it is none.
func bytesOf(quantity string) int64 {
	q, err := resource.ParseQuantity(quantity)
	if err != nil {
		return 0
	}
	return q.Value()
}

// Gateway says which GatewayClasses this control plane serves.
type Gateway struct {
	// ControllerName is the spec.controllerName of the GatewayClasses that this control plane serves: a domain, a
	// slash and a path. Default: gateway.envoyproxy.io/gatewayclass-controller.
	ControllerName string `json:"controllerName,omitempty"`
}

// Provider says where objects come from and where Envoys run.
type Provider struct {
	// Type is Kubernetes, which is the default.
	Type ProviderType `json:"type,omitempty"`

	// Kubernetes holds the settings of type Kubernetes.
	Kubernetes Kubernetes `json:"kubernetes,omitzero"`
}

// ProviderType is where objects come from and where Envoys run.
type ProviderType string

// ProviderTypeKubernetes reads objects from a Kubernetes cluster and runs Envoys as its pods.
const ProviderTypeKubernetes ProviderType = "Kubernetes"

// Kubernetes holds the settings of a control plane that works in a Kubernetes cluster.
type Kubernetes struct {
	// Deploy says in which namespace the Envoys of a Gateway run.
	Deploy Deploy `json:"deploy,omitzero"`

	// LeaderElection chooses the replica that writes status and infrastructure.
	LeaderElection LeaderElection `json:"leaderElection,omitzero"`

	// ProxyTopologyInjector tells Envoys the zone of their node where Kubernetes does not, as before version 1.35.
	ProxyTopologyInjector ProxyTopologyInjector `json:"proxyTopologyInjector,omitzero"`
}

// ProxyTopologyInjector tells Envoys the zone of their node, by a webhook that is called when their pods are bound to it.
type ProxyTopologyInjector struct {
	// Disabled switches it off. Default: false.
	Disabled bool `json:"disabled,omitempty"`
}

// Deploy says in which namespace the Envoys of a Gateway run.
type Deploy struct {
	// Type is ControllerNamespace, which is the default, or GatewayNamespace.
	Type DeployType `json:"type,omitempty"`
}

// DeployType is the namespace in which the Envoys of a Gateway run.
type DeployType string

// The namespaces in which the Envoys of a Gateway can run: that of the control plane, or that of the Gateway.
const (
	DeployControllerNamespace DeployType = "ControllerNamespace"
	DeployGatewayNamespace    DeployType = "GatewayNamespace"
)

// LeaderElection chooses the replica that writes status and infrastructure. The rules between its durations are those
// of Kubernetes' leader election: leaseDuration > renewDeadline > 1.2 retryPeriod > 0. They are Gateway API durations
// (GEP-2257), such as 15s or 1m30s.
type LeaderElection struct {
	// Disable lets this replica write without asking. Only for a single replica. Default: false.
	Disable bool `json:"disable,omitempty"`

	// LeaseDuration is how long the other replicas wait before they take over from a leader that is silent. Default:
	// 15s.
	LeaseDuration gwapiv1.Duration `json:"leaseDuration,omitempty"`

	// RenewDeadline is how long a leader tries to renew before it gives up and exits. Default: 10s.
	RenewDeadline gwapiv1.Duration `json:"renewDeadline,omitempty"`

	// RetryPeriod is the time between two tries to acquire or renew. Default: 2s.
	RetryPeriod gwapiv1.Duration `json:"retryPeriod,omitempty"`
}

// Logging sets the levels of the control plane's log.
type Logging struct {
	// Level maps a component to its level; default stands for the components that are not named. Default: {default:
	// info}.
	Level map[LogComponent]LogLevel `json:"level,omitempty"`
}

// LogComponent is a part of the control plane, by the names that Envoy Gateway gives them.
type LogComponent string

// The parts of the control plane that have a level of their own.
const (
	// LogDefault stands for all that are not named.
	LogDefault LogComponent = "default"
	// LogProvider watches kinds, writes status, guards GatewayClasses in use, keeps certificates, fetches content, and
	// talks with other replicas.
	LogProvider LogComponent = "provider"
	// LogGatewayAPI and LogXDSTranslator are one here, the translation of objects; the level that logs more holds.
	LogGatewayAPI    LogComponent = "gateway-api"
	LogXDSTranslator LogComponent = "xds-translator"
	// LogXDS and LogXDSServer are one here, the delivery to Envoys; the level that logs more holds.
	LogXDS       LogComponent = "xds"
	LogXDSServer LogComponent = "xds-server"
	// LogInfrastructure makes the objects that run Envoys.
	LogInfrastructure LogComponent = "infrastructure"
	// LogGlobalRateLimit runs the rate limit service.
	LogGlobalRateLimit LogComponent = "global-ratelimit"
	// LogWebhook is admission. Envoy Gateway has no such component.
	LogWebhook LogComponent = "webhook"
)

// LogLevel is how much is logged; each level includes those after it.
type LogLevel string

// The levels of the control plane's log.
const (
	LogLevelDebug LogLevel = "debug"
	LogLevelInfo  LogLevel = "info"
	LogLevelWarn  LogLevel = "warn"
	LogLevelError LogLevel = "error"
)

// ExtensionAPIs switches kinds on that are off by default, since they let who may write them reach beyond their
// namespace.
type ExtensionAPIs struct {
	// EnableBackend lets routes refer to Backends, which list endpoints by their addresses or DNS names. Who may write
	// Backends can then have Envoy call any host that it can reach. Default: false.
	EnableBackend bool `json:"enableBackend,omitempty"`

	// EnableEnvoyPatchPolicy says that EnvoyPatchPolicies are meant to take effect. They are not served yet, so the
	// Gateways that they are about are not served then; without it they have no effect, as with Envoy Gateway. Default:
	// false.
	EnableEnvoyPatchPolicy bool `json:"enableEnvoyPatchPolicy,omitempty"`

	// EnableExternalName lets routes refer to Services of type ExternalName, whose names Envoy resolves. Envoy Gateway
	// has no such field. Who may write Services can then have Envoy call any host that it can reach. Default: false.
	EnableExternalName bool `json:"enableExternalName,omitempty"`
}

// KindXBackendTrafficPolicy limits retries by backend.
const KindXBackendTrafficPolicy = "XBackendTrafficPolicy"

// GatewayAPI switches kinds of Gateway API's experimental channel on that are off by default.
type GatewayAPI struct {
	// Enabled are these kinds. XBackendTrafficPolicy is the only one there is; without it, objects of the kind are left
	// alone. Default: none.
	Enabled []string `json:"enabled,omitempty"`
}

// Backends says how backends are reached where neither a route nor a policy says.
type Backends struct {
	// DisableRetries keeps a request that no endpoint got from being tried at another one: Envoy then tries one
	// endpoint for up to 10s, as Envoy Gateway has it. Default: false.
	DisableRetries bool `json:"disableRetries,omitempty"`
}

// EnabledKinds are the kinds that are switched on, of those that are off by default.
func (c *EnvoyGateway) EnabledKinds() []string {
	kinds := slices.Clone(c.GatewayAPI.Enabled)
	if c.ExtensionAPIs.EnableBackend {
		kinds = append(kinds, "Backend")
	}
	if c.ExtensionAPIs.EnableEnvoyPatchPolicy {
		kinds = append(kinds, "EnvoyPatchPolicy")
	}
	return kinds
}

// Default returns the configuration that holds when there is no file.
func Default() *EnvoyGateway {
	c := &EnvoyGateway{TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}}
	c.setDefaults()
	return c
}

// Load reads the configuration from a file, fills in defaults and validates it. The error names the file, the field,
// its value and what may stand there.
func Load(file string) (*EnvoyGateway, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, err)
	}
	return c, nil
}

// Times returns the durations of a validated configuration.
func (l *LeaderElection) Times() (lease, renew, retry time.Duration) {
	lease, _ = duration.Parse(l.LeaseDuration)
	renew, _ = duration.Parse(l.RenewDeadline)
	retry, _ = duration.Parse(l.RetryPeriod)
	return lease, renew, retry
}

func (c *EnvoyGateway) setDefaults() {
	setDefault(&c.Gateway.ControllerName, DefaultControllerName)
	setDefault(&c.Provider.Type, ProviderTypeKubernetes)
	setDefault(&c.Provider.Kubernetes.Deploy.Type, DeployControllerNamespace)

	election := &c.Provider.Kubernetes.LeaderElection
	setDefault(&election.LeaseDuration, DefaultLeaseDuration)
	setDefault(&election.RenewDeadline, DefaultRenewDeadline)
	setDefault(&election.RetryPeriod, DefaultRetryPeriod)

	setDefault(&c.Limits.RouteMemory, DefaultRouteMemory)
	setDefault(&c.Fetching.LargeContent.MaxSize, DefaultMaxSize)
	setDefault(&c.Fetching.LargeContent.CacheSize, DefaultCacheSize)

	if c.RateLimit != nil {
		setDefault(&c.RateLimit.Timeout, DefaultRateLimitTimeout)
	}
	if c.Logging.Level == nil {
		c.Logging.Level = map[LogComponent]LogLevel{}
	}
	if _, ok := c.Logging.Level[LogDefault]; !ok {
		c.Logging.Level[LogDefault] = LogLevelInfo
	}
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}
