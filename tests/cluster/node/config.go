// Package node makes a network namespace a Kubernetes node: it binds pods, runs each of them as processes
// in a network namespace of its own, and serves cluster DNS, Services and logs.
//
// It does what a scheduler, a kubelet, a network plugin, kube-proxy and a cloud's load balancers do, as far as pods and
// their clients can tell, on one node. Everything follows watches; nothing is polled but what probes say.
//
//	watch.go, node.go   what comes from the API server, and to which part it goes
//	pod.go              the life of a pod: volumes, network, containers in order, the end
//	container.go        the runs of a container, restarts and back-off; attend.go: hooks and probes; spec.go: what is run
//	status.go           the status of a pod, computed; report.go writes it
//	register.go         the Node object and its heartbeats; server.go: logs
//	sandbox             namespaces, the container's root, its init; inside: what runs in the container
//	volume, env, field  what pods are given of the API's objects
//	probe, logs, dns    one each; remote: kubectl exec and port-forward
//	service             netfilter rules of Services, addresses of load balancers
//
// What a real node has and this one has not: scheduling constraints (every pod fits), resource limits (they are only
// told to containers), images (all share the machine's files, see Config.Images), capabilities and seccomp, persistent
// volumes, host ports and node ports, session affinity. A Service that names a
// loadBalancerClass is left to others.
package node

import (
	"log/slog"
	"net/netip"

	"gatehouse/tests/cluster/node/family"
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
	// Families are the addresses that the node has and may hand out. Each pod gets one of every family. On the Gateway
	// of the first the API server, DNS and the kubelet port listen.
	Families []family.Family
	// ClusterDomain is the DNS suffix of Services, such as cluster.local.
	ClusterDomain string
	// Log receives what the node does.
	Log *slog.Logger
}

// gateway is the node's own address.
func (c *Config) gateway() netip.Addr { return c.Families[0].Gateway }

// gateways are the node's addresses of every family.
func (c *Config) gateways() []netip.Addr {
	var all []netip.Addr
	for _, f := range c.Families {
		all = append(all, f.Gateway)
	}
	return all
}
