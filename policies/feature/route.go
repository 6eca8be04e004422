package feature

import (
	"cmp"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Route is a route under construction.
type Route struct {
	*routev3.Route
	// Owner is what the spec is of, for names that Envoy's logs and statistics show: the namespace/name of a policy, or
	// the kind/namespace/name/rule/rule of a rule.
	Owner string

	// What follows is for the rules of routes only. The first are set by features.

	// Session matches the requests that belong to a session already, and keep to the endpoint that answered before. It is
	// nil if there are no sessions.
	Session *routev3.HeaderMatcher
	// OnHost returns the route as it is in the virtual host of a host. It copies what it changes. It is nil if the route is
	// the same for all hosts.
	OnHost func(route *routev3.Route, host string) *routev3.Route

	// The rest is known before features are called.

	// Match is the match that the route is for, nil for all requests.
	Match *gwapiv1.HTTPRouteMatch
	// Scheme is that of the listener's requests, and Port is the listener's port.
	Scheme string
	Port   int32
	// GRPC reports whether the requests are those of gRPC.
	GRPC bool
	// EndsIdle reports whether the listener has an idle time of its own for requests.
	EndsIdle bool
	// Once reports whether a request that no endpoint received is by default not tried at another endpoint.
	Once bool
	// Guarded reports whether requests pass filters of the listener before the route is chosen. Then they also pass all
	// filters that the route does not disable.
	Guarded bool
}

// Forward returns the action that forwards requests. If something else answers them, what is set on it has no effect.
func (r *Route) Forward() *routev3.RouteAction {
	return cmp.Or(r.GetRoute(), &routev3.RouteAction{})
}

// DisabledFilter is an HTTP filter that does nothing on a route until PerRoute gives it a configuration there.
func DisabledFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:       name,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: Any(config)},
		Disabled:   true,
	}
}

// enabled enables a filter that is disabled in the connection manager, and leaves its configuration as it is there.
var enabled = &routev3.FilterConfig{Config: &anypb.Any{}}

// Enable enables a disabled filter on a route, with the configuration that it has in the connection manager.
func Enable(route *routev3.Route, filter string) { PerRoute(route, filter, enabled) }

// PerRoute gives the HTTP filter of that name its configuration on a route. A configuration of the filter's own
// per-route type also enables a filter that is disabled in the connection manager (Envoy: route based filter chain).
func PerRoute(route *routev3.Route, filter string, config proto.Message) {
	if route.TypedPerFilterConfig == nil {
		route.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	route.TypedPerFilterConfig[filter] = Any(config)
}

// Composite is an HTTP filter that does nothing on a route until Whole makes it another filter there. It is for filters
// whose own per-route configuration cannot say everything (docs/decisions/012-external-auth.md).
func Composite(name string) *hcmv3.HttpFilter { return DisabledFilter(name, &compositev3.Composite{}) }

// Extension is an HTTP filter by its name, with its configuration.
func Extension(filter string, config proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: filter, TypedConfig: Any(config)}
}

// Whole makes a composite filter, on a route, the given filters in their order. Only the last one may wait for something:
// behind one that waited, Envoy 1.40 passes over the others.
func Whole(filters ...*corev3.TypedExtensionConfig) *compositev3.CompositePerRoute {
	action := &compositev3.ExecuteFilterAction{}
	if len(filters) == 1 {
		action.TypedConfig = filters[0]
	} else {
		action.FilterChain = &compositev3.FilterChainConfiguration{TypedConfig: filters}
	}
	return &compositev3.CompositePerRoute{Matcher: &xdsmatcherv3.Matcher{
		OnNoMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
			Action: &xdscorev3.TypedExtensionConfig{Name: filters[len(filters)-1].Name, TypedConfig: Any(action)},
		}},
	}}
}

// Nothing makes a composite filter do nothing on a route, even if the route configuration makes it another filter.
func Nothing() *compositev3.CompositePerRoute {
	return &compositev3.CompositePerRoute{Matcher: &xdsmatcherv3.Matcher{}}
}

// Encode encodes a message, always into the same bytes: in every replica, and after every restart. It panics on a
// message that cannot be encoded, which only strings that are not UTF-8 can cause; the API server and the YAML decoder
// let none through.
func Encode(message proto.Message) []byte {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		panic("encoding an Envoy message: " + err.Error())
	}
	return encoded
}

// typePrefix precedes the full name of a message in a type URL.
const typePrefix = "type.googleapis.com/"

// Any packs a message as Encode encodes it.
func Any(message proto.Message) *anypb.Any {
	return &anypb.Any{TypeUrl: typePrefix + string(message.ProtoReflect().Descriptor().FullName()), Value: Encode(message)}
}
