package translator

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// declareVirtualHosts: the virtual hosts and the route configurations. Their keys begin with the fleet, see splitKey.
func (t *Tables) declareVirtualHosts() {
	t.bindingsByHost = flow.NewIndex(t.bindings, "bindings by host", boundHosts)
	t.virtualHosts = flow.Group(t.bindingsByHost, "virtual hosts", (*virtualHostRow).equal, t.virtualHost)
	t.overlapsByRoute = flow.NewIndex(flow.Expand(t.virtualHosts, "overlaps", (*overlapRow).equal, t.overlaps),
		"overlaps by route", overlappingRoutes)
	t.scopes = flow.Derive(t.virtualHosts, "scopes", equalResources, t.scope)
	t.hostsByConfig = flow.NewIndex(t.virtualHosts, "hosts by route configuration", hostConfig)
	t.clustersOfConfigs = flow.Group(flow.NewIndex(t.virtualHosts, "hosts by cluster", hostClusters),
		"clusters of route configurations", flow.Same[string],
		func(_ *flow.Read, key string, _ []flow.Row[*virtualHostRow]) (string, bool) {
			_, cluster := splitLast(key)
			return cluster, true
		})
	t.clustersByConfig = flow.NewIndex(t.clustersOfConfigs, "clusters by route configuration", namedConfig)
	t.routeConfigs = flow.Group(t.listenersByConfig, "route configurations", equalResources, t.routeConfig).Outlet()
}

const typeRoutes = typePrefix + "envoy.config.route.v3.RouteConfiguration"

// The fields of Envoy's messages into which encoded ones are appended.
const (
	fieldVirtualHosts protowire.Number = 2  // RouteConfiguration.virtual_hosts
	fieldRoutes       protowire.Number = 3  // VirtualHost.routes
	fieldRouteName    protowire.Number = 14 // Route.name
)

// virtualHostRow is one host of a route configuration, encoded as a field of it.
type virtualHostRow struct {
	Host string
	// Config names the route configuration, or the owner of the scopes if the host is Scoped.
	Config string
	Scoped bool
	Body   []byte
	// Sum is a hash of Body, so that the whole need not be hashed again when one host changes.
	Sum [sha256.Size]byte
	// Clusters are the names that its routes use, sorted.
	Clusters []string
	// Overlaps are the matches that several routes have in common.
	Overlaps []overlap
}

// equal also compares the clusters, because a rule that answers 500 may need other ones while its bytes stay the same.
func (v *virtualHostRow) equal(o *virtualHostRow) bool {
	return v.Sum == o.Sum && v.Host == o.Host && v.Config == o.Config && v.Scoped == o.Scoped &&
		slices.Equal(v.Clusters, o.Clusters) && slices.Equal(v.Overlaps, o.Overlaps)
}

func (t *Tables) virtualHost(r *flow.Read, key string, members []flow.Row[*bindingRow]) (*virtualHostRow, bool) {
	config, host := splitLast(key)
	row := &virtualHostRow{Host: host, Config: members[0].Value.ConfigName, Scoped: members[0].Value.Scoped}
	entries := entriesOn(host, members)
	row.Overlaps = overlapsOf(entries)
	if others, at := t.behind(r, config, host, members); len(others) > 0 {
		entries, members = append(entries, entriesOn(at, others)...), slices.Concat(members, others)
	}
	for _, m := range members {
		row.Clusters = append(row.Clusters, m.Value.clusterNames()...)
	}
	slices.Sort(row.Clusters)
	row.Clusters = slices.Compact(row.Clusters)
	head := virtualHostHead(row.Config, host)
	if t.settings.retries() != nil {
		head = append(head, retried...)
	}
	row.Body = encodedHost(head, guarded(members, entries))
	row.Sum = sha256.Sum256(row.Body)
	return row, true
}

// entriesOn are the routes that bindings have on a host, in the order in which they are tried.
func entriesOn(host string, members []flow.Row[*bindingRow]) (entries []routeEntry) {
	for _, m := range members {
		for _, h := range m.Value.Hosts {
			if h.Host == host {
				entries = append(entries, h.Routes...)
			}
		}
	}
	slices.SortFunc(entries, func(a, b routeEntry) int { return comparePrecedence(a.Order, b.Order) })
	// A route that two parentRefs attach is here twice.
	return slices.CompactFunc(entries, func(a, b routeEntry) bool { return a.Order == b.Order })
}

// clusterNames are those that the routes of the binding and the filters of its listener use.
func (b *bindingRow) clusterNames() []string {
	uses := b.Clusters
	if b.Guard != nil {
		uses = slices.Concat(uses, b.Guard.Clusters)
	}
	names := make([]string, len(uses))
	for i, c := range uses {
		names[i] = c.Name
	}
	return names
}

// encodedHost is a virtual host as a field of its route configuration. It is allocated once, at the size that it has.
func encodedHost(head []byte, entries []routeEntry) []byte {
	size := len(head)
	for i := range entries {
		size += protowire.SizeTag(fieldRoutes) + protowire.SizeBytes(entries[i].size())
	}
	body := make([]byte, 0, protowire.SizeTag(fieldVirtualHosts)+protowire.SizeBytes(size))
	body = protowire.AppendVarint(protowire.AppendTag(body, fieldVirtualHosts, protowire.BytesType), uint64(size))
	body = append(body, head...)
	for i := range entries {
		body = protowire.AppendVarint(protowire.AppendTag(body, fieldRoutes, protowire.BytesType), uint64(entries[i].size()))
		body = entries[i].appendTo(body)
	}
	return body
}

func virtualHostHead(config, host string) []byte {
	return encode(&routev3.VirtualHost{Name: config + "/" + hostname.InName(host), Domains: []string{host}})
}

// routeConfigHead is a route configuration without virtual hosts. Its responses offer HTTP/3 at the port, if that is not
// 0.
func routeConfigHead(name string, quic gwapiv1.PortNumber) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name, IgnorePortInHostMatching: true,
		ValidateClusters:     wrapperspb.Bool(false),
		ResponseHeadersToAdd: advertise(quic),
	}
}

// routeConfig is a route configuration: the bytes of its virtual hosts, one after the other. Scoped routes have scopes
// instead. Members are the listeners whose hosts it has, served or not.
func (t *Tables) routeConfig(r *flow.Read, key string, members []flow.Row[*listenerRow]) (*Resource, bool) {
	served := slices.DeleteFunc(slices.Clone(members), func(l flow.Row[*listenerRow]) bool { return !l.Value.Serves })
	if len(served) == 0 || served[0].Value.Gateway.Scoped {
		return nil, false
	}
	name := first(served).Key
	common, _ := t.commons.Get(r, key)
	quic, _ := t.quic.Get(r, name)
	head := append(encode(routeConfigHead(name, quic.Port)), t.commonFilters(r, common)...)
	digest := sha256.New()
	digest.Write(head)
	hosts := t.hostsByConfig.Lookup(r, key)
	pieces := append(make([][]byte, 0, 1+len(hosts)), head)
	for _, h := range hosts {
		pieces = append(pieces, h.Value.Body)
		digest.Write(h.Value.Sum[:])
	}
	for _, host := range append(unserved(members, hosts), nameless(hosts)...) {
		pieces = append(pieces, appendMessage(nil, fieldVirtualHosts, virtualHostHead(name, host)))
		digest.Write([]byte(host))
	}
	for _, foreign := range t.misdirected(r, served[0].Value, hosts, common) {
		pieces = append(pieces, appendMessage(nil, fieldVirtualHosts, foreign))
		digest.Write(foreign)
	}
	var needs []Name
	for _, c := range t.clustersByConfig.Lookup(r, key) {
		needs = append(needs, Name{typeCluster, c.Value})
	}
	return &Resource{
		Type: typeRoutes, Name: name, Version: hex.EncodeToString(digest.Sum(nil)[:16]), Pieces: pieces,
		Needs: needs,
	}, true
}

// dotted are hosts with a dot at the end. One dot has been removed before, so these had several and are not names (RFC
// 3986, section 3.2.2).
const dotted = "*."

// nameless are the hosts that a virtual host for any host must not take. They answer 404; see decision 022.
func nameless(hosts []flow.Row[*virtualHostRow]) []string {
	if !slices.ContainsFunc(hosts, func(h flow.Row[*virtualHostRow]) bool { return h.Value.Host == hostname.Any }) {
		return nil
	}
	return []string{dotted}
}

// unserved are the hostnames of listeners that serve no route for them. They answer 404; without a virtual host of
// their own a wider listener of the port would answer.
func unserved(members []flow.Row[*listenerRow], hosts []flow.Row[*virtualHostRow]) []string {
	if len(members) < 2 {
		return nil
	}
	served := make(map[string]bool, len(hosts))
	for _, h := range hosts {
		served[h.Value.Host] = true
	}
	var missing []string
	for _, m := range members {
		if host := m.Value.hostname(); !served[host] && host != hostname.Any {
			served[host] = true
			missing = append(missing, host)
		}
	}
	return missing
}

func boundHosts(_ string, b *bindingRow) []string {
	keys := make([]string, len(b.Hosts))
	for i, h := range b.Hosts {
		keys[i] = b.Config + "|" + h.Host
	}
	return keys
}

func hostConfig(key string, v *virtualHostRow) []string {
	if v.Scoped {
		return nil
	}
	config, _ := splitLast(key)
	return []string{config}
}

func namedConfig(key string, _ string) []string {
	config, _ := splitLast(key)
	return []string{config}
}

func hostClusters(key string, v *virtualHostRow) []string {
	if v.Scoped {
		return nil
	}
	config, _ := splitLast(key)
	keys := make([]string, len(v.Clusters))
	for i, c := range v.Clusters {
		keys[i] = config + "|" + c
	}
	return keys
}

// splitLast splits the key of a virtual host's row into the key of its route configuration and the host.
func splitLast(key string) (config, host string) {
	i := strings.LastIndexByte(key, '|')
	return key[:i], key[i+1:]
}
