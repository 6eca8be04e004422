// Package telemetry is the telemetry part of a BackendTrafficPolicy: spans of requests, and names of statistics.
package telemetry

import (
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	tracing  = "telemetry.tracing"
	statName = "telemetry.metrics.routeStatName"
)

// Feature is the telemetry part. The names of statistics on a route are templates, which whoever puts the effect on a
// rule fills in (feature.StatName).
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:  "telemetry",
	Check: check,
	Route: func(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, route *feature.Route) {
		route.StatPrefix = name(spec)
		if t := traced(spec); t != nil && !verdict.Has(checkTracing(t), verdict.Invalid) {
			route.Tracing = spans(t)
		}
	},
	Connection: func(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, connection *feature.Connection) {
		connection.StatName = name(spec)
	},
	Cost: func(spec *v1alpha1.BackendTrafficPolicySpec) feature.Cost {
		if name(spec) == "" {
			return feature.Cost{}
		}
		return feature.Cost{Route: counters}
	},
}

// counters is what the statistics of a route cost, in bytes (TestEnvoyTakesLessThanEstimated).
const counters = 8 << 10

func check(spec *v1alpha1.BackendTrafficPolicySpec) (problems []verdict.Problem) {
	if template := written(spec); template != "" {
		if err := feature.ParseStatName(template); err != nil {
			problems = append(problems, feature.Invalid(statName, "%q is no name of statistics: %v", template, err))
		}
	}
	if t := traced(spec); t != nil {
		problems = append(problems, checkTracing(t)...)
	}
	return problems
}

// written is the template of the name as it is written, empty for none.
func written(spec *v1alpha1.BackendTrafficPolicySpec) string {
	if spec.Telemetry == nil || spec.Telemetry.Metrics == nil {
		return ""
	}
	return ptr.Deref(spec.Telemetry.Metrics.RouteStatName, "")
}

// name is the template if it can be used.
func name(spec *v1alpha1.BackendTrafficPolicySpec) string {
	if template := written(spec); feature.ParseStatName(template) == nil {
		return template
	}
	return ""
}

func traced(spec *v1alpha1.BackendTrafficPolicySpec) *v1alpha1.Tracing {
	if spec.Telemetry == nil {
		return nil
	}
	return spec.Telemetry.Tracing
}
