// Package node makes a network namespace a Kubernetes node: it binds pods, runs each of them as processes
// in a network namespace of its own, and serves cluster DNS, Services and logs.
package node

import (
	"log/slog"
	"net/netip"
)

// Config says where the node finds the API server and what it may hand out.
type Config struct {
	// Kubeconfig is a file that reaches the API server from inside the namespace, with cluster-admin.
	Kubeconfig string
	// Dir is the state directory for pod roots and logs: <cluster dir>/node.
	Dir string
	// Images maps an image name or pattern to the absolute path of a local binary. A pattern is matched by
	// path.Match on the image's last path element, with its tag and without.
	Images map[string]string
	// Gateway is the node's own address inside the namespace; the API server, DNS and the kubelet port listen on it.
	Gateway netip.Addr
	// PodCIDR, ServiceCIDR and LoadBalancerCIDR are the ranges that pods, Services and load balancers get addresses from.
	PodCIDR, ServiceCIDR, LoadBalancerCIDR netip.Prefix
	// ClusterDomain is the DNS suffix of Services, such as cluster.local.
	ClusterDomain string
	// Log receives what the node does.
	Log *slog.Logger
}
