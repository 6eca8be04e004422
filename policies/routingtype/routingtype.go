// Package routingtype is the routingType part of a BackendTrafficPolicy: whether requests go to the endpoints of a Service
// or to its address.
package routingtype

import (
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const field = "routingType"

// Feature is the routingType part.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name: field,
	Check: func(spec *v1alpha1.BackendTrafficPolicySpec) []verdict.Problem {
		return feature.CheckRoutingType(field, spec.RoutingType)
	},
	Cluster: func(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, u *feature.Upstream) {
		u.Endpoints.OfService = OfService(spec.RoutingType, u.Endpoints.OfService)
	},
}

// OfService reports whether requests go to the address of a Service. Without a choice it is the default.
func OfService(chosen *v1alpha1.RoutingType, otherwise bool) bool {
	if chosen == nil {
		return otherwise
	}
	return *chosen == v1alpha1.ServiceRoutingType
}
