// Package useclientprotocol is the useClientProtocol part of a BackendTrafficPolicy: requests are forwarded in the version
// of HTTP in which clients send them.
package useclientprotocol

import (
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// Feature is the useClientProtocol part. Whoever builds the cluster completes the protocols.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name: "useClientProtocol",
	Cluster: func(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, u *feature.Upstream) {
		if ptr.Deref(spec.UseClientProtocol, false) {
			u.HTTP.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
				UseDownstreamProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_UseDownstreamHttpConfig{},
			}
		}
	},
}

// Follows reports whether a cluster is spoken to in the version of the client.
func Follows(u *feature.Upstream) bool { return u.HTTP.GetUseDownstreamProtocolConfig() != nil }
