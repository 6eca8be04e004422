// Package clienthealthcheck is the healthCheck part of a ClientTrafficPolicy: requests about the health of the Gateway
// itself.
package clienthealthcheck

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the healthCheck part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:     "healthCheck",
	Check:    check,
	Listener: listener,
	Effective: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if spec.HealthCheck != nil {
			e.OfClients().HealthPath = spec.HealthCheck.Path
		}
	},
}

const maxPath = 1024

func check(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
	if spec.HealthCheck == nil {
		return nil
	}
	path := spec.HealthCheck.Path
	if !strings.HasPrefix(path, "/") || len(path) > maxPath || strings.ContainsFunc(path, unprintable) {
		return []verdict.Problem{feature.Invalid("healthCheck.path",
			"%q cannot be a path: write 1 to %d characters that begin with a slash, such as /healthz", path, maxPath)}
	}
	return nil
}

func unprintable(r rune) bool { return r <= ' ' || r >= 0x7f }

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	if spec.HealthCheck == nil || len(check(spec)) > 0 {
		return
	}
	const name = "envoy.filters.http.health_check"
	l.Manager.HttpFilters = append(l.Manager.HttpFilters, &hcmv3.HttpFilter{
		Name: name,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: feature.Any(&healthv3.HealthCheck{
			PassThroughMode: wrapperspb.Bool(false),
			Headers:         []*routev3.HeaderMatcher{feature.HeaderIs(":path", feature.Exactly(spec.HealthCheck.Path))},
		})},
	})
}
