package translator

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// takesTunnels reports whether an action takes requests of method CONNECT.
func takesTunnels(action *routev3.RouteAction) bool {
	return slices.ContainsFunc(action.GetUpgradeConfigs(), func(u *routev3.RouteAction_UpgradeConfig) bool {
		return u.UpgradeType == feature.MethodConnect
	})
}

// tunnels reports whether the matches of the rule may have a second route for tunnels.
func (b *boundRule) tunnels() bool {
	return !b.rules.Route.Kind.http2 && slices.ContainsFunc(b.effects, func(e *effectRow) bool { return e != nil && takesTunnels(e.Route.GetRoute()) })
}

// otherMethod reports whether a match, which may be nil, names another method than CONNECT.
func otherMethod(m *gwapiv1.HTTPRouteMatch) bool {
	return m != nil && m.Method != nil && *m.Method != feature.MethodConnect
}

// asTunnel returns the route of a match for requests of method CONNECT, nil if the route takes none. These requests have
// no path, so Envoy's matches on paths never hold for them, and they need a route of their own. It has the other
// conditions of the match.
func asTunnel(route *feature.Route) *feature.Route {
	if !takesTunnels(route.GetRoute()) || otherMethod(route.Match) || route.GRPC {
		return nil
	}
	tunnel := *route
	tunnel.Route = proto.CloneOf(route.Route)
	tunnel.Route.Match.PathSpecifier = &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}
	return &tunnel
}
