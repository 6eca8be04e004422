package policies

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// buildCluster is a complete cluster with the settings of the policy, with the addresses as endpoints.
func (g golden) buildCluster(name string, endpoints ...*corev3.Address) *clusterv3.Cluster {
	upstream := feature.NewUpstream()
	upstream.Localities = true
	g.kind.Cluster(g.policy, g.have, upstream)
	upstream.HTTP.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{},
		},
	}
	for _, check := range upstream.Cluster.HealthChecks {
		if check.GetGrpcHealthCheck() != nil { // Such a check is only made of backends that are spoken to in HTTP/2.
			upstream.HTTP.GetExplicitHttpConfig().ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{}
		}
	}
	locality := &endpointv3.LocalityLbEndpoints{
		Locality:            &corev3.Locality{Region: "backend"},
		LoadBalancingWeight: wrapperspb.UInt32(1),
	}
	for _, address := range endpoints {
		locality.LbEndpoints = append(locality.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
		})
	}
	cluster := upstream.Cluster
	cluster.Name = name
	cluster.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	cluster.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints:   []*endpointv3.LocalityLbEndpoints{locality},
	}
	cluster.TypedExtensionProtocolOptions = map[string]*anypb.Any{
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": feature.Any(upstream.HTTP),
	}
	return cluster
}

// buildRoute is a complete route to a cluster with the settings of the policy.
func (g golden) buildRoute(cluster string) *routev3.Route {
	route := &routev3.Route{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		}},
	}
	if g.policy != nil {
		g.kind.Route(g.policy, g.have, route)
	}
	SettleRule(&gwapiv1.HTTPRouteRule{}, &feature.Route{Route: route})
	return route
}

// buildListener is a complete listener with the settings of the policy, for HTTPS if it is about listeners, otherwise for
// HTTP. The routes are those of its connection manager.
func (g golden) buildListener(name string, routes *routev3.RouteConfiguration) *listenerv3.Listener {
	built := feature.NewListener()
	secure := g.policy != nil && g.kind.ShapesListeners()
	if secure {
		built.TLS = terminating().TLS
	}
	g.kind.Listener(g.policy, g.have, built)
	if secure {
		built.Chain.TransportSocket = serverSocket(built)
		built.Socket.ListenerFilters = append(built.Socket.ListenerFilters, &listenerv3.ListenerFilter{
			Name:       "envoy.filters.listener.tls_inspector",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: feature.Any(built.Inspector)},
		})
	}
	built.Manager.StatPrefix = name
	built.Manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
	for _, f := range Filters() {
		built.Manager.HttpFilters = append(built.Manager.HttpFilters, f.HTTP())
	}
	built.Manager.HttpFilters = append(built.Manager.HttpFilters, &hcmv3.HttpFilter{
		Name:       "envoy.filters.http.router",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: feature.Any(built.Router)},
	})
	built.Chain.Filters = append(built.Chain.Filters, &listenerv3.Filter{
		Name:       "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: feature.Any(built.Manager)},
	})
	built.Socket.Name, built.Socket.Address = name, loopback(0)
	built.Socket.FilterChains = []*listenerv3.FilterChain{built.Chain}
	return built.Socket
}

// validate checks a message, and every message that is packed into it, with the rules in Envoy's API.
func validate(t *testing.T, message proto.Message) {
	t.Helper()
	if v, ok := message.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			t.Errorf("Envoy would refuse %s: %v", message.ProtoReflect().Descriptor().FullName(), err)
		}
	}
	visitPacked(message.ProtoReflect(), func(packed *anypb.Any) {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			t.Error(err)
			return
		}
		validate(t, inner)
	})
}

// visitPacked visits every Any in a message, because validation rules do not check their content.
func visitPacked(message protoreflect.Message, visit func(*anypb.Any)) {
	if packed, ok := message.Interface().(*anypb.Any); ok {
		visit(packed)
		return
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap() && field.MapValue().Message() != nil:
			value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				visitPacked(v.Message(), visit)
				return true
			})
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				visitPacked(value.List().Get(i).Message(), visit)
			}
		case field.Message() != nil && !field.IsMap():
			visitPacked(value.Message(), visit)
		}
		return true
	})
}
