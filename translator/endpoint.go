package translator

import (
	"cmp"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"gatehouse/translator/flow"
)

// endpoints is the load assignment of a cluster. An EndpointSlice event touches these rows only.
func (t *Tables) endpoints(r *flow.Read, _ string, c *clusterRow) (*Resource, bool) {
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: c.Use.Name}
	for _, b := range c.Use.Backends {
		locality := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Region: clusterName(b)},
			LoadBalancingWeight: wrapperspb.UInt32(max(b.Weight, 1)),
		}
		if b.Service != nil {
			locality.LbEndpoints = loadBalanced(t.slicesByService.Lookup(r, Key(b.Service.Namespace, b.Service.Name)), b.Port)
		}
		if len(locality.LbEndpoints) == 0 && b.datagrams() && len(c.Use.Backends) > 1 {
			locality.LbEndpoints = discarded()
		}
		c.Use.choose(b, locality.LbEndpoints)
		if len(locality.LbEndpoints) > 0 {
			assignment.Endpoints = append(assignment.Endpoints, locality)
		}
	}
	return resource(assignment, c.Use.Name), true
}

// endpoint is an address that can be sent to.
type endpoint struct {
	address string
	port    int32
}

// loadBalanced lists the endpoints that are ready; if there is none, those that are going but still serve (as kube-proxy does,
// KEP-1669). The port is found by its name, since its number may differ from pod to pod.
func loadBalanced(rows []flow.Row[*discoveryv1.EndpointSlice], port corev1.ServicePort) []*endpointv3.LbEndpoint {
	var ready, serving []endpoint
	for _, row := range rows {
		number, ok := slicePort(row.Value, port)
		if !ok {
			continue // The slice is of other ports.
		}
		for _, e := range row.Value.Endpoints {
			to := &serving
			switch {
			case len(e.Addresses) == 0:
				continue // The API server lets no such endpoint in.
			case e.Conditions.Ready == nil || *e.Conditions.Ready:
				to = &ready
			case !deref(e.Conditions.Serving):
				continue // Neither ready nor serving: nothing to send to.
			}
			*to = append(*to, endpoint{e.Addresses[0], number})
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	slices.SortFunc(ready, func(a, b endpoint) int { return cmp.Or(cmp.Compare(a.address, b.address), cmp.Compare(a.port, b.port)) })
	ready = slices.Compact(ready)
	lb := make([]*endpointv3.LbEndpoint, len(ready))
	for i, e := range ready {
		lb[i] = e.balanced(port.Protocol)
	}
	return lb
}

func (e endpoint) balanced(p corev1.Protocol) *endpointv3.LbEndpoint {
	address := socketAddress(e.address, uint32(e.port))
	if p == corev1.ProtocolUDP {
		address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
		LoadBalancingWeight: wrapperspb.UInt32(1),
	}
}

// discarded takes the datagrams of a backend that cannot be used, which must not go to others (UDPRouteRule, backendRefs): nobody listens to
// the port of the protocol Discard (RFC 863) beside an Envoy.
func discarded() []*endpointv3.LbEndpoint {
	return []*endpointv3.LbEndpoint{endpoint{"127.0.0.1", 9}.balanced(corev1.ProtocolUDP)}
}

func slicePort(s *discoveryv1.EndpointSlice, port corev1.ServicePort) (int32, bool) {
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return 0, false
	}
	for _, p := range s.Ports {
		if deref(p.Name) == port.Name && p.Port != nil && *p.Port > 0 && cmp.Or(deref(p.Protocol), corev1.ProtocolTCP) == cmp.Or(port.Protocol, corev1.ProtocolTCP) {
			return *p.Port, true
		}
	}
	return 0, false
}

func socketAddress(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       address,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}
