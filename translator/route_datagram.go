package translator

import (
	"cmp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	udpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"

	"gatehouse/translator/flow"
)

// datagrams makes Envoy's listener of UDP. Each client's datagrams go to one endpoint until a minute has passed without
// any.
func (t *Tables) datagrams(r *flow.Read, out *listenerv3.Listener, l *listenerRow) []Name {
	f := &forwarding{}
	if all := t.forwarded(r, l); len(all) > 0 {
		f = all[0]
	}
	f.datagrams(out, l)
	q, _ := t.quarantines.Get(r, l.fleet())
	if _, rejected := q[partHash(encode(out))]; rejected && len(q) > 0 {
		f = &forwarding{}
		f.datagrams(out, l)
	}
	return f.needs()
}

func (f *forwarding) datagrams(out *listenerv3.Listener, l *listenerRow) {
	cluster := unusableCluster
	if len(f.Clusters) > 0 {
		cluster = f.Clusters[0].Cluster
	}
	proxy := &udpv3.UdpProxyConfig{
		StatPrefix:     cmp.Or(f.StatName, l.statPrefix()),
		RouteSpecifier: &udpv3.UdpProxyConfig_Matcher{Matcher: always(&udpv3.Route{Cluster: cluster})},
	}
	if f.BySource {
		proxy.HashPolicies = []*udpv3.UdpProxyConfig_HashPolicy{{PolicySpecifier: &udpv3.UdpProxyConfig_HashPolicy_SourceIp{SourceIp: true}}}
	}
	out.Address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	out.PerConnectionBufferLimitBytes, out.ListenerFiltersTimeout, out.AccessLog = nil, nil, nil
	out.TcpKeepalive, out.SocketOptions, out.MaxConnectionsToAcceptPerSocketEvent = nil, nil, nil
	out.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name:       "envoy.filters.udp_listener.udp_proxy",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed(proxy)},
	}}
}
