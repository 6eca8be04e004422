// Package routingtype is the routingType part of a BackendTrafficPolicy: whether requests go to the endpoints of a Service
// or to its address.
package routingtype

import (
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const field = "routingType"

// Feature is the routingType part.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name: field,
	Check: func(spec *v1alpha1.BackendTrafficPolicySpec) []verdict.Problem {
		return feature.CheckChoice(field, chosen(spec), types)
	},
	Cluster: func(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, u *feature.Upstream) {
		u.Endpoints.OfService = chosen(spec) == v1alpha1.ServiceRoutingType
	},
}

var types = map[v1alpha1.RoutingType]bool{v1alpha1.ServiceRoutingType: true, v1alpha1.EndpointRoutingType: true}

func chosen(spec *v1alpha1.BackendTrafficPolicySpec) v1alpha1.RoutingType {
	return ptr.Deref(spec.RoutingType, v1alpha1.EndpointRoutingType)
}
