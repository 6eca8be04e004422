package translator

import (
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"gatehouse/policies/feature"
	"gatehouse/policies/grpcweb"
	"gatehouse/translator/hostname"
)

// newListener returns a listener with the values that no policy sets. What policies set has no value yet.
func newListener() *feature.Listener {
	built := feature.NewListener()
	built.Manager.ServerHeaderTransformation = hcmv3.HttpConnectionManager_PASS_THROUGH
	built.Manager.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
	return built
}

// filterChain is what serves a listener for HTTP or HTTPS, shaped by a policy or by the defaults. The plain HTTP
// listeners of a port share the chain of the first.
func filterChain(first, l *listenerRow, p *policyRow) *listenerv3.FilterChain {
	built := httpListener(first, l, p, "h2", "http/1.1")
	end(built, managerName, built.Manager)
	breakChain(l.owner(), built.Chain)
	return built.Chain
}

// managerName is the network filter that reads requests.
const managerName = "envoy.filters.network.http_connection_manager"

// httpListener is a listener for HTTP or HTTPS as a policy or the defaults shape it. With TLS its clients choose among
// the protocols.
func httpListener(first, l *listenerRow, p *policyRow, protocols ...string) *feature.Listener {
	built := newListener()
	if l.protocol().sni {
		first = l
		built.TLS = terminate(l, protocols...)
		matchSNI(built.Chain, []string{l.hostname()})
	}
	built.Chain.Name = first.Key
	built.Host = first.host()
	p.shapeListener(built)
	manage(built, first)
	return built
}

// manage completes a connection manager. But for the filters of a policy about its listener, the filters are the same
// whatever policies are attached: a change of them would drain the filter chain.
func manage(built *feature.Listener, l *listenerRow) {
	manager := built.Manager
	manager.StatPrefix = l.statPrefix()
	manager.AccessLog = requestLog()
	for _, f := range managerFilters() {
		if f.Name == grpcweb.Filter && built.GRPCWeb != nil {
			f.Disabled = false
			if !*built.GRPCWeb { // Routes enable the filter by its name, so it is replaced by one that does nothing.
				f.ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&mutationv3.HeaderMutation{})}
			}
		}
		manager.HttpFilters = append(manager.HttpFilters, f)
	}
	manager.HttpFilters = append(manager.HttpFilters, &hcmv3.HttpFilter{
		Name:       "envoy.filters.http.router",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(built.Router)},
	})
	setRoutes(manager, l.Gateway.routesOf(l.Key)) // Behind what a policy does to headers.
}

// host is the hostname of the listener, empty if it is not one host.
func (l *listenerRow) host() string {
	if host := l.hostname(); !strings.HasPrefix(host, hostname.Any) {
		return host
	}
	return ""
}

// end puts the parts of a filter chain together, once nothing of them changes any more. The filter gets all
// connections that features' own filters let through.
func end(built *feature.Listener, filter string, config proto.Message) {
	add(built, filter, config)
	if built.TLS != nil {
		built.Chain.TransportSocket = tlsSocket(packed(built.TLS))
	}
}

// add adds a network filter to the chain.
func add(built *feature.Listener, filter string, config proto.Message) {
	built.Chain.Filters = append(built.Chain.Filters, &listenerv3.Filter{
		Name:       filter,
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(config)},
	})
}
