package translator

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"gatehouse/policies/endpoints"
	"gatehouse/policies/feature"
	"gatehouse/translator/flow"
)

// declareClusters: the clusters, with their endpoints and secrets.
func (t *Tables) declareClusters() {
	t.clusters = flow.Group(flow.NewIndex(t.bindings, "bindings by cluster", boundClusters),
		"clusters", (*clusterRow).equal, t.cluster)
	t.assignments = flow.Derive(t.clusters, "endpoints", equalResources, t.endpoints)
	t.clusterSecrets = flow.Group(flow.NewIndex(t.clusters, "clusters by secret", clusterSecrets),
		"secrets of clusters", equalResources, t.clusterSecret)
	t.zonesOfFleets = flow.Group(flow.NewIndex(t.in.slices, "slices of fleets", t.slicesOfFleets),
		"zones of fleets", equalResources, t.fleetZones)
}

// endpoints is the load assignment of a cluster. An EndpointSlice event touches these rows only.
func (t *Tables) endpoints(r *flow.Read, _ string, c *clusterRow) (*Resource, bool) {
	if c.Use.named() || c.Use.byRequest() {
		return nil, false // Envoy asks DNS.
	}
	set := upstream(c.Use).Endpoints
	localities := c.Use.localities(&set, func(b backend) map[string][]*endpointv3.LbEndpoint {
		if set.OfService && len(b.To.Addresses) > 0 {
			return map[string][]*endpointv3.LbEndpoint{"": b.ofService()}
		}
		return loadBalanced(t.slicesByOwner.Lookup(r, b.To.key()), b.Port, set.ZoneWeights != nil || set.OwnZone)
	})
	return resource(&endpointv3.ClusterLoadAssignment{ClusterName: c.Use.Name, Endpoints: localities}, c.Use.Name), true
}

// localities are the endpoints of the cluster, with one or more localities for each backend. sliced returns the
// endpoints of a backend from EndpointSlices, by zone if zones matter; a cluster of DNS names does not call it.
func (c *clusterUse) localities(set *feature.Endpoints,
	sliced func(backend) map[string][]*endpointv3.LbEndpoint,
) (all []*endpointv3.LocalityLbEndpoints) {
	add := func(region, zone string, weight uint32, endpoints []*endpointv3.LbEndpoint) *endpointv3.LocalityLbEndpoints {
		all = append(all, &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Region: region, Zone: zone},
			LoadBalancingWeight: wrapperspb.UInt32(max(weight, 1)), LbEndpoints: endpoints,
		})
		return all[len(all)-1]
	}
	share := c.zoneShares(set)
	for _, b := range c.Backends {
		var zones map[string][]*endpointv3.LbEndpoint
		if b.To.Discovery == bySlices {
			zones = sliced(b)
		} else {
			zones = b.listed(!c.several() || set.ZoneWeights != nil)
		}
		// Other backends must not get the datagrams of a backend without endpoints, except fallbacks.
		if len(zones) == 0 && b.datagrams() && c.several() && !failsOver(c.Backends) {
			zones = map[string][]*endpointv3.LbEndpoint{"": discarded(corev1.ProtocolUDP)}
		}
		weight := share(b.Weight, slices.Sorted(maps.Keys(zones)))
		for _, zone := range slices.Sorted(maps.Keys(zones)) {
			if weight[zone] == 0 {
				continue
			}
			region := clusterName(b)
			if set.OwnZone {
				region = "" // Envoy's own locality has none.
			}
			locality := add(region, zone, weight[zone], zones[zone])
			if b.Fallback {
				locality.Priority = 1
			}
			c.choose(b, locality.LbEndpoints)
			setChecks(set, locality.LbEndpoints)
		}
	}
	if c.Lost > 0 {
		lost := add(unusableCluster, "", share(c.Lost, []string{""})[""], discarded(c.Backends[0].Port.Protocol))
		c.choose(c.Backends[0], lost.LbEndpoints)
	}
	return all
}

// listed are the endpoints that the object lists, by zone if byZone is true. The dot at the end of a name prevents that
// Envoy uses the search domains of its pod.
func (b backend) listed(byZone bool) map[string][]*endpointv3.LbEndpoint {
	zones := map[string][]*endpointv3.LbEndpoint{}
	for _, e := range b.To.Endpoints {
		at := endpoint{address: address{ip: e.Host, port: cmp.Or(e.Port, b.Port.Number)}}
		hostname, zone := e.Hostname, e.Zone
		if b.To.named() {
			name := endpoints.Name(e.Host)
			at.ip, hostname = name+".", cmp.Or(hostname, name)
		}
		if !byZone {
			zone = ""
		}
		lb := at.balanced(b.Port.Protocol)
		lb.GetEndpoint().Hostname = hostname
		zones[zone] = append(zones[zone], lb)
	}
	return zones
}

// ofService is the address of the Service itself.
func (b backend) ofService() (all []*endpointv3.LbEndpoint) {
	var own families
	for _, ip := range b.To.Addresses {
		family := discoveryv1.AddressTypeIPv4
		if strings.Contains(ip, ":") {
			family = discoveryv1.AddressTypeIPv6
		}
		own.add(family, address{ip: ip, port: b.Port.Number, of: b.To.key()})
	}
	for _, e := range own.endpoints() {
		all = append(all, e.balanced(b.Port.Protocol))
	}
	return all
}

// endpoint is what can be sent to.
type endpoint struct {
	address
	// other is its address of the other family, zero if it has none.
	other address
}

// address is where an endpoint listens, and whose it is. The zone is empty if it does not matter.
type address struct {
	ip   string
	port int32
	of   string
	zone string
}

func compareAddresses(a, b address) int {
	return cmp.Or(cmp.Compare(a.ip, b.ip), cmp.Compare(a.port, b.port), cmp.Compare(a.of, b.of),
		cmp.Compare(a.zone, b.zone))
}

// loadBalanced lists the endpoints that are ready; if there are none, those that terminate but still serve (as
// kube-proxy does, KEP-1669). A terminating endpoint that is not needed is left out: Envoy sends it nothing new and
// lets it finish what it has. The port is found by its name, because its number may differ between pods. They are
// listed by zone if byZone is true, else all under "".
func loadBalanced(rows []flow.Row[*discoveryv1.EndpointSlice], port backendPort,
	byZone bool,
) map[string][]*endpointv3.LbEndpoint {
	var ready, serving families
	for _, row := range rows {
		number, ok := slicePort(row.Value, port)
		if !ok || hasNames(row.Value) {
			continue // The slice is of other ports, or of what nothing is sent to.
		}
		for _, e := range row.Value.Endpoints {
			serves, isReady := usable(&e)
			if !serves {
				continue // There is nothing to send to.
			}
			to := &serving
			if isReady {
				to = &ready
			}
			a := address{ip: e.Addresses[0], port: number, of: ownerOf(e.TargetRef)}
			if byZone {
				a.zone = deref(e.Zone)
			}
			to.add(row.Value.AddressType, a)
		}
	}
	endpoints := ready.endpoints()
	if len(endpoints) == 0 {
		endpoints = serving.endpoints()
	}
	zones := map[string][]*endpointv3.LbEndpoint{}
	for _, e := range endpoints {
		zones[e.zone] = append(zones[e.zone], e.balanced(port.Protocol))
	}
	return zones
}

// usable reports whether anything can be sent to an endpoint, and whether it is ready and not terminating. The API
// server admits none without an address.
func usable(e *discoveryv1.Endpoint) (serves, ready bool) {
	if len(e.Addresses) == 0 {
		return false, false
	}
	ready = e.Conditions.Ready == nil || *e.Conditions.Ready
	return ready || deref(e.Conditions.Serving), ready
}

func (e *endpoint) balanced(p corev1.Protocol) *endpointv3.LbEndpoint {
	out := e.envoy()
	if p == corev1.ProtocolUDP { // Nothing is tried out with datagrams, so there is no second address.
		out.Address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
		out.AdditionalAddresses = nil
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: out},
		LoadBalancingWeight: wrapperspb.UInt32(1),
	}
}

// discarded takes the share of a backend that cannot be used, which must not go to others (UDPRouteRule, backendRefs):
// nobody listens to the port of the protocol Discard (RFC 863) beside an Envoy.
func discarded(protocol corev1.Protocol) []*endpointv3.LbEndpoint {
	nobody := endpoint{address: address{ip: "127.0.0.1", port: 9}}
	return []*endpointv3.LbEndpoint{nobody.balanced(protocol)}
}

func ownerOf(ref *corev1.ObjectReference) string {
	if ref == nil {
		return ""
	}
	return cmp.Or(string(ref.UID), ref.Kind+"/"+ref.Namespace+"/"+ref.Name)
}

// families are the addresses of a Service's endpoints. A Service of both families has slices of each, with the same
// pods.
type families struct{ v4, v6 []address }

func (f *families) add(family discoveryv1.AddressType, a address) {
	if family == discoveryv1.AddressTypeIPv6 {
		f.v6 = append(f.v6, a)
	} else {
		f.v4 = append(f.v4, a)
	}
}

// endpoints joins both addresses of a pod, so that it gets no more requests than one with a single address. Envoy tries
// IPv4 first.
func (f *families) endpoints() []endpoint {
	for _, family := range []*[]address{&f.v4, &f.v6} {
		slices.SortFunc(*family, compareAddresses)
		*family = slices.Compact(*family)
	}
	endpoints := make([]endpoint, 0, len(f.v4)+len(f.v6))
	byOwner := map[string]int{}
	for _, a := range f.v4 {
		if a.of != "" && len(f.v6) > 0 {
			byOwner[a.of] = len(endpoints)
		}
		endpoints = append(endpoints, endpoint{address: a})
	}
	for _, a := range f.v6 {
		if i, ok := byOwner[a.of]; ok && endpoints[i].other == (address{}) {
			endpoints[i].other = a
			continue
		}
		endpoints = append(endpoints, endpoint{address: a})
	}
	return endpoints
}

func (e *endpoint) envoy() *endpointv3.Endpoint {
	out := &endpointv3.Endpoint{Address: socketAddress(e.ip, uint32(e.port))}
	if e.other != (address{}) {
		out.AdditionalAddresses = []*endpointv3.Endpoint_AdditionalAddress{{Address: socketAddress(e.other.ip,
			uint32(e.other.port))}}
	}
	return out
}

func slicePort(s *discoveryv1.EndpointSlice, port backendPort) (int32, bool) {
	for _, p := range s.Ports {
		if deref(p.Name) == port.Name && p.Port != nil && *p.Port > 0 && protocolOf(p.Protocol) == port.Protocol {
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

func boundClusters(_ string, b *bindingRow) []string {
	keys := make([]string, len(b.Clusters))
	for i, c := range b.Clusters {
		keys[i] = b.Fleet + "|" + c.Name
	}
	return keys
}
