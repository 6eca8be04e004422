package translator

import (
	"slices"
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"gatehouse/policies/feature"
)

// setChecks sets where the endpoints are asked by health checks.
func setChecks(set *feature.Endpoints, endpoints []*endpointv3.LbEndpoint) {
	for _, e := range endpoints {
		config := &endpointv3.Endpoint_HealthCheckConfig{PortValue: set.CheckPort}
		if set.CheckHosts {
			config.Hostname = e.GetEndpoint().Hostname
		}
		if config.PortValue > 0 || config.Hostname != "" {
			e.GetEndpoint().HealthCheckConfig = config
		}
	}
}

// host is the first host name of the route that has no wildcard, or that of the listener; empty if neither has one.
func (b *boundRule) host() string {
	for _, name := range append(slices.Clone(b.rules.Route.Hostnames), deref(b.listener.Spec.Hostname)) {
		if name != "" && !strings.HasPrefix(string(name), "*") {
			return string(name)
		}
	}
	return ""
}
