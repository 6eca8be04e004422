package translator

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/translator/flow"
)

const typeRoutes = typePrefix + "envoy.config.route.v3.RouteConfiguration"

// The fields of Envoy's messages into which encoded ones are appended.
const (
	fieldVirtualHosts protowire.Number = 2 // RouteConfiguration.virtual_hosts
	fieldRoutes       protowire.Number = 3 // VirtualHost.routes
)

// virtualHostRow is one host of a route configuration, encoded as a field of it.
type virtualHostRow struct {
	Host string
	Body []byte
	// Clusters are the names that its routes use, sorted.
	Clusters []string
}

func (v *virtualHostRow) equal(o *virtualHostRow) bool { return slices.Equal(v.Body, o.Body) }

func (t *Tables) virtualHost(_ *flow.Read, key string, members []flow.Row[*bindingRow]) (*virtualHostRow, bool) {
	_, host := splitLast(key)
	row := &virtualHostRow{Host: host}
	var entries []routeEntry
	for _, m := range members {
		for _, h := range m.Value.Hosts {
			if h.Host == host {
				entries = append(entries, h.Routes...)
			}
		}
		for _, c := range m.Value.Clusters {
			row.Clusters = append(row.Clusters, c.Name)
		}
	}
	slices.SortFunc(entries, func(a, b routeEntry) int { return comparePrecedence(a.Order, b.Order) })
	// A route that is attached twice by two parentRefs stands here twice.
	entries = slices.CompactFunc(entries, func(a, b routeEntry) bool { return a.Order == b.Order })
	slices.Sort(row.Clusters)
	row.Clusters = slices.Compact(row.Clusters)
	body := virtualHostHead(members[0].Value.ConfigName, host)
	for _, e := range entries {
		body = appendMessage(body, fieldRoutes, e.Body)
	}
	row.Body = appendMessage(nil, fieldVirtualHosts, body)
	return row, true
}

func virtualHostHead(config, host string) []byte {
	return encode(&routev3.VirtualHost{Name: config + "/" + hostInName(host), Domains: []string{host}})
}

// routeConfig is a route configuration: its virtual hosts' bytes, one after the other.
func (t *Tables) routeConfig(r *flow.Read, key string, members []flow.Row[*listenerRow]) (*Resource, bool) {
	name := firstListener(members).Key
	body := encode(&routev3.RouteConfiguration{Name: name, IgnorePortInHostMatching: true, ValidateClusters: wrapperspb.Bool(false)})
	hosts := t.hostsByConfig.Lookup(r, key)
	size := len(body)
	for _, h := range hosts {
		size += len(h.Value.Body)
	}
	body = slices.Grow(body, size-len(body)+64*len(members))
	known := make(map[string]bool, len(hosts))
	clusters := map[string]bool{}
	for _, h := range hosts {
		body = append(body, h.Value.Body...)
		known[h.Value.Host] = true
		for _, c := range h.Value.Clusters {
			clusters[c] = true
		}
	}
	// A listener without routes for its own hostname answers 404 there; without this a wider listener of the port would answer.
	for _, m := range members {
		if host := m.Value.hostname(); !known[host] && len(members) > 1 && host != anyHost {
			known[host] = true
			body = appendMessage(body, fieldVirtualHosts, virtualHostHead(name, host))
		}
	}
	return encodedResource(typeRoutes, name, body, clusterNames(clusters)), true
}

func clusterNames(set map[string]bool) []Name {
	names := make([]Name, 0, len(set))
	for c := range set {
		names = append(names, Name{typeCluster, c})
	}
	slices.SortFunc(names, compareNames)
	return names
}
