package policies

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// Gateways have features too: the parts of their spec that are about clusters.

// NeedsOfGateway lists what the features of a Gateway refer to. Fields are relative to spec.
func NeedsOfGateway(g *gwapiv1.Gateway) []feature.Need {
	var needs []feature.Need
	for f := range featuresOf(gatewayKind) {
		needs = append(needs, f.needs(g)...)
	}
	return needs
}

// ClusterOfGateway sets what a Gateway says about the clusters of its routes.
func ClusterOfGateway(g *gwapiv1.Gateway, have feature.Have, upstream *feature.Upstream) {
	for f := range featuresOf(gatewayKind) {
		f.cluster(g, have, upstream)
	}
}
