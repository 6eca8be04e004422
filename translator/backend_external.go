package translator

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// external reports whether a cluster is the name of one Service.
func (c *clusterUse) external() bool {
	return len(c.Backends) == 1 && c.Backends[0].To.named()
}

// numeric are the hosts that are read as IPv4 addresses or not at all, since they end in a number (https://url.spec.whatwg.org/#ends-in-a-number-checker).
// The API server takes them for names; Envoy's resolver takes 127.0.0.01 for its own host.
var numeric = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)$`)

// externalHost is the name of a Service of type ExternalName as DNS compares it.
func (d *destination) externalHost() string {
	return strings.ToLower(strings.TrimSuffix(d.External, "."))
}

// externalBytes make the name of a cluster say where DNS leads: a cluster that got another name in its place would have no endpoints until that
// is resolved.
func externalBytes(b backend) []byte {
	if !b.To.named() {
		return nil
	}
	return []byte(b.To.externalHost())
}

// checkExternal finds why a Service of type ExternalName is not served. Where it may be, who writes Services can have Envoy call any name
// that it can resolve, so the names of Envoy's own host are refused.
func (t *Tables) checkExternal(b backend, object *backendObject) *verdict.Problem {
	problem := &verdict.Problem{Field: ".name", Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Unresolved}
	host := object.externalHost()
	_, err := netip.ParseAddr(host)
	switch {
	case !t.settings.ExternalNames:
		problem.Message = fmt.Sprintf("%s is of type ExternalName, which is not served; refer to a Service with endpoints, or have it allowed by extensionApis.enableExternalName of the control plane's configuration",
			&object.destination)
	case err == nil || host == "" || numeric.MatchString(host):
		problem.Message = fmt.Sprintf("externalName %q of %s is no DNS name; write an address into an EndpointSlice of a Service without a selector",
			object.External, &object.destination)
	case host == "localhost" || strings.HasSuffix(host, ".localhost"):
		problem.Message = fmt.Sprintf("externalName %q of %s is Envoy's own host, which is not served; name another host",
			object.External, &object.destination)
	case b.datagrams():
		problem.Message = fmt.Sprintf("%s is of type ExternalName, to which datagrams are not sent; refer to a Service with endpoints",
			&object.destination)
	default:
		return nil
	}
	return problem
}

// hasNames reports whether the endpoints of an EndpointSlice are DNS names.
func hasNames(s *discoveryv1.EndpointSlice) bool { return s.AddressType == discoveryv1.AddressTypeFQDN }

// ownersOfNames are the keys of those that an EndpointSlice of DNS names says it is of.
func ownersOfNames(key string, s *discoveryv1.EndpointSlice) []string {
	if !hasNames(s) {
		return nil
	}
	return ownersOf(key, s)
}

// checkNames tells of endpoints of a backend's port that are DNS names, to which nothing is sent. Who may write EndpointSlices could have Envoy call any host that it
// can reach, its own among them, as with Services of type ExternalName; those can be allowed. A backend with no other endpoint is of no use.
func (t *Tables) checkNames(r *flow.Read, b *backend) *verdict.Problem {
	if b.To == nil {
		return nil
	}
	slicesOf := t.namesByOwner.Lookup(r, b.To.key())
	i := slices.IndexFunc(slicesOf, func(s flow.Row[*discoveryv1.EndpointSlice]) bool { _, ok := slicePort(s.Value, b.Port); return ok })
	if i < 0 {
		return nil
	}
	problem := &verdict.Problem{
		Field: ".name", Reason: "UnsupportedAddressType", Weight: verdict.Unresolved,
		Message: fmt.Sprintf("EndpointSlice %q of %s has DNS names, to which nothing is sent; write addresses, or refer to a Service of type ExternalName where extensionApis.enableExternalName of the control plane's configuration allows it",
			slicesOf[i].Value.Name, b.To),
	}
	if !t.hasEndpoint(r, *b) {
		b.To = nil
	}
	return problem
}

// setDiscovery says where the cluster's endpoints come from: from the control plane, or from DNS. There the name is whole, as the CNAME record
// of such a Service has it: the final dot keeps Envoy from trying it in the domains that its pod searches. IPv4 goes first, as among endpoints.
// Envoy must not wait for an answer: while it did, a name that gets none would hold up every other change of clusters, and each fresh Envoy.
func setDiscovery(c *clusterv3.Cluster, use *clusterUse) {
	if b := use.Backends[0]; use.external() {
		host := b.To.externalHost()
		c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.dns", TypedConfig: packed(&dnsv3.DnsCluster{
				RespectDnsTtl: true, DnsLookupFamily: commondnsv3.DnsLookupFamily_V4_PREFERRED,
			}),
		}}
		c.WaitForWarmOnInit = wrapperspb.Bool(false)
		c.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: use.Name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LoadBalancingWeight: wrapperspb.UInt32(1),
			LbEndpoints: []*endpointv3.LbEndpoint{{
				LoadBalancingWeight: wrapperspb.UInt32(1),
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: socketAddress(host+".", uint32(b.Port.Number)), Hostname: host,
				}},
			}},
		}}}
		return
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
	c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS()}
}
