package translator

import (
	"cmp"
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/dns"
	"gatehouse/policies/endpoints"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// reasonAddressType is Envoy Gateway's reason for a backend whose endpoints are of a type that cannot be served where
// it is.
const reasonAddressType = "UnsupportedAddressType"

// named reports whether Envoy finds the endpoints of a cluster by their names. Names and addresses are never in one
// cluster.
func (c *clusterUse) named() bool { return c.Backends[0].To.named() }

// namedBytes are the content of a cluster with DNS names, as a part of its name: a cluster that differs in anything is a
// new cluster. If it changed in place, Envoy would begin without endpoints, until the names are resolved again.
func namedBytes(use *clusterUse) []byte { return encode(envoyCluster(use)) }

// checkExternal reports why a Service of type ExternalName is not served. If they are allowed, whoever writes Services
// can make Envoy call any name that it can resolve. So the names of Envoy's own host are refused.
func (t *Tables) checkExternal(b backend, object *backendObject) *verdict.Problem {
	problem := &verdict.Problem{
		Field: ".name", Reason: string(gwapiv1.RouteReasonUnsupportedValue),
		Weight: verdict.Unresolved,
	}
	name := object.Endpoints[0].Host
	switch {
	case !t.settings.ExternalNames:
		problem.Message = fmt.Sprintf("%s is of type ExternalName, which is not served: refer to a Service with endpoints, or have it allowed by extensionApis.enableExternalName of the control plane's configuration",
			&object.destination)
	case endpoints.IsAddress(name):
		problem.Message = fmt.Sprintf("externalName %q of %s is not a DNS name: write an address into an EndpointSlice of a Service without a selector",
			name, &object.destination)
	case endpoints.IsOwnHost(name):
		problem.Message = fmt.Sprintf("externalName %q of %s is Envoy's own host, which is not served: name another host",
			name, &object.destination)
	case b.datagrams():
		problem.Message = fmt.Sprintf("%s is of type ExternalName, to which datagrams are not sent: refer to a Service with endpoints",
			&object.destination)
	default:
		return nil
	}
	return problem
}

// hasNames reports whether the endpoints of an EndpointSlice are DNS names.
func hasNames(s *discoveryv1.EndpointSlice) bool { return s.AddressType == discoveryv1.AddressTypeFQDN }

// ownersOfNames are the keys of the objects that an EndpointSlice of DNS names belongs to.
func ownersOfNames(key string, s *discoveryv1.EndpointSlice) []string {
	if !hasNames(s) {
		return nil
	}
	return ownersOf(key, s)
}

// checkNames reports endpoints of a backend's port that are DNS names. Nothing is sent to them: whoever may write
// EndpointSlices could make Envoy call any host that it can reach, even its own. The same is true of Services of type
// ExternalName, which can be allowed. A backend with no other endpoint cannot be used.
func (t *Tables) checkNames(r *flow.Read, b *backend) *verdict.Problem {
	if b.To == nil {
		return nil
	}
	slicesOf := t.namesByOwner.Lookup(r, b.To.key())
	i := slices.IndexFunc(slicesOf, func(s flow.Row[*discoveryv1.EndpointSlice]) bool {
		_,
			ok := slicePort(s.Value, b.Port)
		return ok
	})
	if i < 0 {
		return nil
	}
	problem := &verdict.Problem{
		Field: ".name", Reason: reasonAddressType, Weight: verdict.Unresolved,
		Message: fmt.Sprintf("EndpointSlice %q of %s has DNS names, to which nothing is sent: write addresses, or refer to a Service of type ExternalName where extensionApis.enableExternalName of the control plane's configuration allows it",
			slicesOf[i].Value.Name, b.To),
	}
	if !t.hasEndpoint(r, *b) {
		b.To = nil
	}
	return problem
}

// setDiscovery sets where the cluster's endpoints come from: the control plane, or DNS. DNS names are absolute, like
// the CNAME record of a Service of type ExternalName. IPv4 comes first, as for endpoints. Envoy must not wait for an
// answer, because a name that gets none would block all other changes of clusters and the start of each new Envoy.
func setDiscovery(u *feature.Upstream, use *clusterUse) {
	c := u.Cluster
	if use.named() {
		c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.dns", TypedConfig: packed(cmp.Or(u.DNS, dns.Resolution(nil))),
		}}
		c.WaitForWarmOnInit = wrapperspb.Bool(false)
		c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
			ClusterName: use.Name, Endpoints: use.localities(&u.Endpoints, nil),
		}
		return
	}
	if use.byRequest() {
		resolveRequests(u, use)
		return
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
	c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: feature.OverADS()}
}
