package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

var tlsRoutes = routeKind{
	Name: "TLSRoute", serverNames: true,
	New: func() Object { return &gwapiv1.TLSRoute{} },
	read: func(o Object, row *routeRow) {
		spec := &o.(*gwapiv1.TLSRoute).Spec
		row.Parents, row.Hostnames = spec.ParentRefs, spec.Hostnames
		for _, rule := range spec.Rules {
			row.Rules = append(row.Rules, layer4Rule(rule.Name, rule.BackendRefs))
		}
	},
	status:    func(o Object) *gwapiv1.RouteStatus { return &o.(*gwapiv1.TLSRoute).Status.RouteStatus },
	transport: corev1.ProtocolTCP,
}

var tcpRoutes = routeKind{
	Name: "TCPRoute",
	New:  func() Object { return &gwapiv1.TCPRoute{} },
	read: func(o Object, row *routeRow) {
		spec := &o.(*gwapiv1.TCPRoute).Spec
		row.Parents = spec.ParentRefs
		for _, rule := range spec.Rules {
			row.Rules = append(row.Rules, layer4Rule(rule.Name, rule.BackendRefs))
		}
	},
	status:    func(o Object) *gwapiv1.RouteStatus { return &o.(*gwapiv1.TCPRoute).Status.RouteStatus },
	transport: corev1.ProtocolTCP,
}

var udpRoutes = routeKind{
	Name: "UDPRoute",
	New:  func() Object { return &gwapiv1.UDPRoute{} },
	read: func(o Object, row *routeRow) {
		spec := &o.(*gwapiv1.UDPRoute).Spec
		row.Parents = spec.ParentRefs
		for _, rule := range spec.Rules {
			row.Rules = append(row.Rules, layer4Rule(rule.Name, rule.BackendRefs))
		}
	},
	status:    func(o Object) *gwapiv1.RouteStatus { return &o.(*gwapiv1.UDPRoute).Status.RouteStatus },
	transport: corev1.ProtocolUDP,
}

// layer4Rule puts a rule into HTTPRoute's terms: it has backends and nothing else.
func layer4Rule(name *gwapiv1.SectionName, refs []gwapiv1.BackendRef) (rule feature.Rule) {
	rule.Name = name
	for _, ref := range refs {
		rule.BackendRefs = append(rule.BackendRefs, gwapiv1.HTTPBackendRef{BackendRef: ref})
	}
	return rule
}

// forwarding is a route of layer 4 on a listener.
type forwarding struct {
	// Listener is the listener's key, Route the route's.
	Listener, Route string
	// Name names the filter chain.
	Name    string
	Created int64
	// Hosts are the server names of TLS that it takes; any host stands for all connections. Hostnames are the route's
	// that match them.
	Hosts, Hostnames []string
	// Clusters share the connections. Without any, connections are closed and datagrams dropped.
	Clusters []share
	// Resolver is the cluster whose endpoints are the server names of connections, nil if there is none.
	Resolver *clusterUse
	// Sources are the addresses from which connections may come, nil for all.
	Sources *feature.Sources
	// BySource sends all connections of an address to one endpoint.
	BySource bool
	// Retries is how many more endpoints are tried for a connection if one does not answer.
	Retries uint32
	// StatName is the name under which connections and datagrams are counted, empty for that of the listener.
	StatName string
}

// share is a cluster's part of the connections.
type share struct {
	Cluster string
	Weight  uint32
}

func (f *forwarding) equal(o *forwarding) bool {
	if f == nil || o == nil {
		return f == o
	}
	return f.Listener == o.Listener && f.Route == o.Route && f.Name == o.Name && f.Created == o.Created &&
		f.BySource == o.BySource && f.Retries == o.Retries && f.StatName == o.StatName &&
		slices.Equal(f.Hosts, o.Hosts) && slices.Equal(f.Hostnames, o.Hostnames) && slices.Equal(f.Clusters, o.Clusters) &&
		f.Sources.Equal(o.Sources) && f.Resolver.equal(o.Resolver)
}

func forwardingListener(_ string, b *bindingRow) []string {
	if b.Forward == nil {
		return nil
	}
	return []string{b.Forward.Listener}
}

// forward binds a route to a listener of layer 4. The API allows one rule; of several in a file all backends are taken
// together.
func (t *Tables) forward(r *flow.Read, b *bindingRow, rules *rulesRow, a attachedListener, allowed allowance) {
	q, _ := t.quarantines.Get(r, b.Fleet)
	route := rules.Route
	f := &forwarding{
		Listener: a.Listener.Key, Route: route.Key, Name: route.name(), Created: age(route.Object),
		Hosts: a.Hosts,
	}
	for _, host := range a.Hosts {
		f.Hostnames = append(f.Hostnames, hostname.Matching(host, route.Hostnames))
	}
	b.Forward = f
	for i := range rules.Rules {
		bound := &boundRule{rules: rules, rule: i, listener: a.Listener}
		t.resolve(r, b, bound, q)
		allowed.charge(b, bound)
		connection, closed := t.connection(r, bound)
		if closed = cmp.Or(closed, bound.unresolved()); closed != "" {
			b.withdraw(bound, closed)
		}
		f.add(b, bound, connection)
		if len(q) == 0 {
			continue // The policy of the listener is not read, so that a change of it does not concern the route.
		}
		if words, rejected := q[partHash(encode(f.chain(a.Listener, f.Hosts, t.policyOfChain(r, a.Listener))))]; rejected {
			b.reject(bound, words)
			f.Clusters = nil
		}
	}
}

// connection puts together what the policies of a rule say about its connections. Each policy has that computed
// already. If a policy allows none to be forwarded, closed says why.
func (t *Tables) connection(r *flow.Read, bound *boundRule) (connection feature.Connection, closed string) {
	connection.Retries = new(t.settings.retries().GetNumRetries().GetValue())
	if bound.unmatchable {
		return connection, ""
	}
	for _, e := range bound.effects {
		if e == nil {
			continue
		}
		says, ok := t.policyConnections.Get(r, e.Key)
		if !ok {
			continue
		}
		connection.Add(says)
		closed = cmp.Or(closed, closes(bound.listener, e.Ref.Kind, says))
	}
	return connection, closed
}

// unresolved says why Envoy cannot resolve the server names of connections for a rule. It is empty if it can, or need not.
func (bound *boundRule) unresolved() string {
	if !bound.listener.protocol().tls || bound.resolver() == nil {
		return ""
	}
	return "the TLS of clients ends here, and a Backend of type DynamicResolver gets it as it is, so connections are closed: use a " +
		"listener with tls.mode Passthrough, or list endpoints"
}

// resolver is the cluster whose endpoints are the server names of connections, nil if there is none.
func (bound *boundRule) resolver() *clusterUse {
	i := slices.IndexFunc(bound.clusters, func(c *clusterUse) bool { return c != nil && c.byRequest() })
	if i < 0 {
		return nil
	}
	return bound.clusters[i]
}

// closes says why a policy of the kind allows no connection of the listener to be forwarded. It is empty if it does.
func closes(l *listenerRow, kind string, says feature.Connection) string {
	switch {
	case l.protocol().transport == corev1.ProtocolUDP && says.Sources != nil:
		return fmt.Sprintf("Envoy cannot authorize datagrams, so they are dropped: take the %s away from the listener", kind)
	case says.Unprotected != "":
		return fmt.Sprintf("%s of the %s in effect looks at requests, and connections are forwarded here without looking "+
			"into them, so they are closed: attach the policy to routes or listeners for HTTP only", says.Unprotected, kind)
	}
	return ""
}

// add takes in the backends of a rule and what its policies say.
func (f *forwarding) add(b *bindingRow, bound *boundRule, connection feature.Connection) {
	f.Retries = *connection.Retries
	f.BySource = f.BySource || connection.HashSource
	f.StatName = feature.StatName(connection.StatName, bound.statName())
	if connection.Sources != nil {
		f.Sources = connection.Sources
	}
	if bound.closed() {
		return
	}
	if shares, usable := layer4Shares(bound, &bound.rules.Rules[bound.rule]); usable {
		f.Clusters = append(f.Clusters, shares...)
	}
	if use := bound.resolver(); use != nil {
		f.Resolver = use
	}
}

// layer4Shares are the clusters of a rule with their parts of the connections, and whether any of them can be used. A
// fallback has no part: it takes over from those that share its cluster.
func layer4Shares(bound *boundRule, rule *ruleRow) (shares []share, usable bool) {
	for i, backend := range rule.Backends {
		if backend.share() == 0 {
			continue
		}
		s := share{Cluster: unusableCluster, Weight: backend.share()}
		if use := bound.clusters[i]; use != nil {
			s.Cluster, usable = use.Name, true
		}
		if same := slices.IndexFunc(shares, func(o share) bool { return o.Cluster == s.Cluster }); same >= 0 {
			shares[same].Weight += s.Weight
		} else {
			shares = append(shares, s)
		}
	}
	return shares, usable
}

// layer4Chains are the filter chains of a listener that forwards connections: one for each route, and one for the
// server names that no route takes.
//
// A chain has the route's name, and where another listener of the port has taken that, its listener's as well; named
// are those that are taken.
func (t *Tables) layer4Chains(r *flow.Read, l *listenerRow, named map[string]bool) (chains []*listenerv3.FilterChain,
	needs []Name,
) {
	q, _ := t.quarantines.Get(r, l.fleet())
	policy := t.policyOfChain(r, l)
	add := func(f forwarding, hosts []string) {
		if named[f.Name] {
			f.Name += "/" + strings.TrimPrefix(l.Key, l.fleet()+"/")
		}
		named[f.Name] = true
		chain := f.chain(l, hosts, policy)
		if _, rejected := q[partHash(encode(chain))]; rejected && len(q) > 0 {
			f.Clusters, f.Sources = nil, nil
			chain = f.chain(l, hosts, policy)
		}
		if f.Sources == nil || len(f.Sources.Allowed) > 0 { // No range at all would be every address to Envoy.
			chains = append(chains, chain)
		}
		if f.Sources != nil && len(f.Sources.Denied) > 0 {
			denied := forwarding{Name: f.Name + "/denied", Sources: &feature.Sources{Allowed: f.Sources.Denied}}
			chains = append(chains, denied.chain(l, hosts, policy))
		}
		needs = append(needs, f.needs()...)
	}
	all := t.forwarded(r, l)
	owners := ownersOfHosts(all)
	for _, f := range all {
		var hosts []string
		for _, host := range f.Hosts {
			if owners[host] == f {
				hosts = append(hosts, host)
			}
		}
		if len(hosts) > 0 {
			add(*f, hosts)
		}
	}
	if host := l.hostname(); owners[host] == nil {
		add(forwarding{Name: l.Key}, []string{host})
	}
	return chains, needs
}

// forwarded are the routes of layer 4 on a listener, the oldest first.
func (t *Tables) forwarded(r *flow.Read, l *listenerRow) []*forwarding {
	var all []*forwarding
	for _, b := range t.forwardings.Lookup(r, l.Key) {
		all = append(all, b.Value.Forward)
	}
	slices.SortStableFunc(all, func(a, b *forwarding) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Route, b.Route))
	})
	return all
}

// ownersOfHosts tells which route of a listener has each server name: the one whose hostname matches it best, of
// several the oldest (Gateway API, conflicts). The oldest route comes first.
func ownersOfHosts(all []*forwarding) map[string]*forwarding {
	owners, best := map[string]*forwarding{}, map[string]string{}
	for _, f := range all {
		for i, host := range f.Hosts {
			if owners[host] == nil || hostname.Compare(f.Hostnames[i], best[host]) < 0 {
				owners[host], best[host] = f, f.Hostnames[i]
			}
		}
	}
	return owners
}

// needs are the clusters that are forwarded to.
func (f *forwarding) needs() []Name {
	var needs []Name
	for _, s := range f.Clusters {
		if s.Cluster != unusableCluster {
			needs = append(needs, Name{typeCluster, s.Cluster})
		}
	}
	return needs
}

// chain forwards connections. To a cluster that does not exist means that they are accepted and closed.
func (f *forwarding) chain(l *listenerRow, hosts []string, p *policyRow) *listenerv3.FilterChain {
	built := newListener()
	built.Chain.Name = f.Name
	if l.protocol().sni {
		matchSNI(built.Chain, hosts)
	}
	if f.Sources != nil {
		if built.Chain.FilterChainMatch == nil {
			built.Chain.FilterChainMatch = &listenerv3.FilterChainMatch{}
		}
		built.Chain.FilterChainMatch.SourcePrefixRanges = feature.Ranges(f.Sources.Allowed)
	}
	if l.protocol().tls {
		built.TLS = terminate(l)
	}
	f.proxy(built.Proxy, l)
	p.shapeListener(built)
	if f.Resolver != nil && len(f.Clusters) > 0 {
		add(built, "envoy.filters.network.sni_dynamic_forward_proxy", resolveServerNames(f.Resolver))
	}
	end(built, "envoy.filters.network.tcp_proxy", built.Proxy)
	breakChain(l.owner(), built.Chain)
	return built.Chain
}

// proxy has a TCP proxy forward to the clusters.
func (f *forwarding) proxy(proxy *tcpv3.TcpProxy, l *listenerRow) {
	proxy.StatPrefix, proxy.AccessLog = cmp.Or(f.StatName, l.statPrefix()), requestLog()
	switch len(f.Clusters) {
	case 0:
		proxy.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: unusableCluster}
	case 1:
		proxy.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: f.Clusters[0].Cluster}
	default:
		weighted := &tcpv3.TcpProxy_WeightedCluster{}
		for _, s := range f.Clusters {
			weighted.Clusters = append(weighted.Clusters, &tcpv3.TcpProxy_WeightedCluster_ClusterWeight{
				Name:   s.Cluster,
				Weight: s.Weight,
			})
		}
		proxy.ClusterSpecifier = &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: weighted}
	}
	if f.Retries > 0 {
		proxy.MaxConnectAttempts = wrapperspb.UInt32(1 + f.Retries)
	}
	if f.BySource {
		proxy.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
}

// always is a matcher that has one answer.
func always(action proto.Message) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{OnNoMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
		Action: &xdscorev3.TypedExtensionConfig{Name: "route", TypedConfig: packed(action)},
	}}}
}
