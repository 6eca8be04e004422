package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/duration"
)

// controllerNamePattern is the pattern of GatewayController in Gateway API.
var controllerNamePattern = regexp.MustCompile(
	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$`)

// leastRouteMemory is enough for about a hundred plain routes, in bytes.
const leastRouteMemory = 1 << 20

// Validate returns all problems of a configuration whose defaults are filled in.
func (c *EnvoyGateway) Validate() error {
	var errs field.ErrorList
	errs = append(errs, oneOf(field.NewPath("apiVersion"), c.APIVersion, apiVersion)...)
	errs = append(errs, oneOf(field.NewPath("kind"), c.Kind, kind)...)

	if name := c.Gateway.ControllerName; len(name) > 253 || !controllerNamePattern.MatchString(name) {
		errs = append(errs, field.Invalid(field.NewPath("gateway", "controllerName"), name,
			"write a domain, a slash and a path, at most 253 characters, such as "+DefaultControllerName))
	}

	provider := field.NewPath("provider")
	errs = append(errs, oneOf(provider.Child("type"), c.Provider.Type, ProviderTypeKubernetes)...)
	kubernetes := provider.Child("kubernetes")
	errs = append(errs, oneOf(kubernetes.Child("deploy", "type"), c.Provider.Kubernetes.Deploy.Type,
		DeployControllerNamespace, DeployGatewayNamespace)...)
	errs = append(errs, c.Provider.Kubernetes.LeaderElection.validate(kubernetes.Child("leaderElection"))...)
	errs = append(errs, c.Logging.validate(field.NewPath("logging"))...)
	for i, kind := range c.GatewayAPI.Enabled {
		errs = append(errs, oneOf(field.NewPath("gatewayAPI", "enabled").Index(i), kind, KindXBackendTrafficPolicy)...)
	}
	if c.Limits.RouteMemoryBytes() < leastRouteMemory {
		errs = append(errs, field.Invalid(field.NewPath("limits", "routeMemory"), c.Limits.RouteMemory,
			"write a number of bytes of at least 1Mi, such as "+DefaultRouteMemory+" or 1Gi"))
	}
	errs = append(errs, c.RateLimit.validate(field.NewPath("rateLimit"))...)
	fetching := field.NewPath("fetching")
	errs = append(errs, validateCIDRs(fetching.Child("allowedCIDRs"), c.Fetching.AllowedCIDRs)...)
	errs = append(errs, validateCIDRs(fetching.Child("deniedCIDRs"), c.Fetching.DeniedCIDRs)...)
	errs = append(errs, c.Fetching.LargeContent.validate(fetching.Child("largeContent"))...)
	return errs.ToAggregate()
}

// validate finds sizes that are none, and a cache without room for new content beside the one before.
func (l *LargeContent) validate(path *field.Path) (errs field.ErrorList) {
	maxSize, cacheSize := l.Bytes()
	if maxSize < 1 {
		errs = append(errs, field.Invalid(path.Child("maxSize"), l.MaxSize,
			"write a number of bytes, such as "+DefaultMaxSize))
	}
	if cacheSize < 1 || cacheSize/2 < maxSize {
		errs = append(errs, field.Invalid(path.Child("cacheSize"), l.CacheSize,
			"write a number of bytes of at least twice maxSize, such as "+DefaultCacheSize))
	}
	return errs
}

func validateCIDRs(path *field.Path, cidrs []string) field.ErrorList {
	var errs field.ErrorList
	for i, cidr := range cidrs {
		if p, err := netip.ParsePrefix(cidr); err != nil || p != p.Masked() || p.Addr().Is4In6() {
			errs = append(errs, field.Invalid(path.Index(i), cidr,
				"write the first address of a range and the length of its prefix, such as 10.0.0.0/8 or 2001:db8::/32"))
		}
	}
	return errs
}

func (l *LeaderElection) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, d := range []struct {
		name  string
		value gwapiv1.Duration
	}{
		{"leaseDuration", l.LeaseDuration},
		{"renewDeadline", l.RenewDeadline},
		{"retryPeriod", l.RetryPeriod},
	} {
		if length, _ := duration.Parse(d.value); length == 0 {
			errs = append(errs, field.Invalid(path.Child(d.name), d.value,
				"write a duration of more than zero in h, m, s or ms, such as 15s or 1m30s"))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	lease, renew, retry := l.Times()
	if lease <= renew {
		errs = append(errs, field.Invalid(path.Child("leaseDuration"), l.LeaseDuration,
			"must be longer than renewDeadline, which is "+string(l.RenewDeadline)))
	}
	// client-go extends retryPeriod at random by a factor of up to 1.2.
	if least := retry * 12 / 10; renew <= least {
		errs = append(errs, field.Invalid(path.Child("renewDeadline"), l.RenewDeadline,
			"must be longer than 1.2 times retryPeriod, which is "+least.String()))
	}
	return errs
}

func (l *Logging) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	components := make([]string, 0, len(l.Level))
	for component := range l.Level {
		components = append(components, string(component))
	}
	slices.Sort(components)
	for _, component := range components {
		at := path.Child("level").Key(component)
		errs = append(errs, oneOf(at, LogComponent(component),
			LogDefault, LogProvider, LogGatewayAPI, LogXDSTranslator, LogXDSServer, LogXDS, LogInfrastructure,
			LogGlobalRateLimit, LogWebhook)...)
		errs = append(errs, oneOf(at, l.Level[LogComponent(component)],
			LogLevelDebug, LogLevelInfo, LogLevelWarn, LogLevelError)...)
	}
	return errs
}

// oneOf returns an error unless value is one of allowed.
func oneOf[T ~string](path *field.Path, value T, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	if strings.TrimSpace(string(value)) == "" {
		return field.ErrorList{field.Required(path, "write "+join(allowed))}
	}
	return field.ErrorList{field.Invalid(path, value, "write "+join(allowed))}
}

func join[T ~string](values []T) string {
	var words []string
	for _, value := range values {
		words = append(words, string(value))
	}
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
