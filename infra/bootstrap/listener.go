package bootstrap

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// OwnListenerPrefix is the prefix of the statistics of the listeners that serve probes and metrics instead of clients:
// listener.<OwnListenerPrefix>ready.downstream_cx_active, for example.
const OwnListenerPrefix = "gatehouse_"

// The limits of each of Envoy's own listeners: everybody who reaches the pod reaches them, and the limits for clients
// do not apply there.
const (
	ownConnections = 1000
	ownHeadersTime = 5 * time.Second
	ownIdleTime    = 10 * time.Second
)

// ownListener is one of Envoy's own listeners. Probes must not fail if Envoy is full or busy, because kubelet would
// restart it when it is needed most. So the listener is exempt from the limits of the overload manager, and has its own
// limits instead.
func ownListener(name string, at *corev3.Address, routes ...*routev3.Route) (*listenerv3.Listener, error) {
	router, err := typed(&routerv3.Router{})
	if err != nil {
		return nil, err
	}
	limit, err := typed(&limitv3.ConnectionLimit{
		StatPrefix:     OwnListenerPrefix + name,
		MaxConnections: wrapperspb.UInt64(ownConnections),
	})
	if err != nil {
		return nil, err
	}
	manager, err := typed(&hcmv3.HttpConnectionManager{
		StatPrefix:                OwnListenerPrefix + name,
		RequestHeadersTimeout:     durationpb.New(ownHeadersTime),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(ownIdleTime)},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: name,
			VirtualHosts: []*routev3.VirtualHost{{
				Name:    name,
				Domains: []string{"*"},
				Routes:  routes,
			}},
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: router},
		}},
	})
	if err != nil {
		return nil, err
	}
	return &listenerv3.Listener{
		Name:                  OwnListenerPrefix + name,
		StatPrefix:            OwnListenerPrefix + name,
		Address:               at,
		IgnoreGlobalConnLimit: true,
		BypassOverloadManager: true,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{
			{Name: "envoy.filters.network.connection_limit", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: limit}},
			{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: manager},
			},
		}}},
	}, nil
}

// adminRoute exposes exactly one path of the admin interface outside of the pod.
func adminRoute(path string) *routev3.Route {
	return &routev3.Route{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: adminCluster},
		}},
	}
}

// directRoute answers 200 without asking the main thread.
func directRoute(path string) *routev3.Route {
	return &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}},
	}
}

func adminUpstream() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 adminCluster,
		ConnectTimeout:       durationpb.New(connectTimeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment:       oneEndpoint(adminCluster, "127.0.0.1", AdminPort),
	}
}

func oneEndpoint(cluster, host string, port uint32) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: cluster,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(host, port)}},
		}}}},
	}
}
