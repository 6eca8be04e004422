// Package clientgrpc is the grpc part of a ClientTrafficPolicy: whether gRPC-Web is made gRPC.
package clientgrpc

import (
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// Feature is the grpc part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name: "grpc",
	Listener: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
		if spec.GRPC != nil {
			l.GRPCWeb = spec.GRPC.EnableWeb
		}
	},
}
