package translator

import (
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"gatehouse/policies/envoyproxy"
	"gatehouse/translator/flow"
)

// Envoys prefer endpoints in their own zone only if they know how their fleet is spread over the zones. The cluster for
// that is in their start configuration (infra/bootstrap), and its endpoints are those of the fleet's own Service.

// slicesOfFleets are the keys of the resource for which the endpoints of a fleet's Service are. The labels of a Service
// are those of its EndpointSlices. Others than the control plane may write into namespaces where no fleet is.
func (t *Tables) slicesOfFleets(_ string, s *discoveryv1.EndpointSlice) []string {
	fleet, ok := envoyproxy.KeyOf(s)
	namespace := t.settings.Namespace
	if t.settings.InGatewayNamespace {
		namespace, _, _ = strings.Cut(fleet, "/")
	}
	if !ok || s.Namespace != namespace {
		return nil
	}
	return []string{fleet + "|" + envoyproxy.FleetCluster}
}

// fleetZones lists the Envoys of a fleet by their zones.
func (t *Tables) fleetZones(r *flow.Read, key string, members []flow.Row[*discoveryv1.EndpointSlice]) (*Resource, bool) {
	fleet, name := splitKey(key)
	if _, ok := t.gateways.Get(r, fleet); !ok {
		return nil, false
	}
	zones := map[string][]string{}
	for _, row := range members {
		for _, e := range row.Value.Endpoints {
			if _, ready := usable(&e); ready {
				zones[deref(e.Zone)] = append(zones[deref(e.Zone)], e.Addresses[0])
			}
		}
	}
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		locality := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: zone}}
		slices.Sort(zones[zone])
		for _, ip := range slices.Compact(zones[zone]) {
			e := endpoint{address: address{ip: ip, port: envoyPort}}
			locality.LbEndpoints = append(locality.LbEndpoints, e.balanced(corev1.ProtocolTCP))
		}
		out.Endpoints = append(out.Endpoints, locality)
	}
	return resource(out, name), true
}

// envoyPort stands for the ports of an Envoy, where nothing is sent to it.
const envoyPort = 1
