// Package tcpkeepalive is the tcpKeepalive part of ClusterSettings: how connections to backends are found to be dead.
package tcpkeepalive

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the tcpKeepalive part.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name: "tcpKeepalive",
	Check: func(spec *v1alpha1.ClusterSettings) []verdict.Problem {
		return feature.CheckKeepalive("tcpKeepalive", spec.TCPKeepalive)
	},
	Cluster: func(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
		if spec.TCPKeepalive != nil {
			upstream.Cluster.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{
				TcpKeepalive: feature.Keepalive(spec.TCPKeepalive),
			}
		}
	},
}
