package feature

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Filter is an HTTP filter in every connection manager. It does nothing on a route until Enable or PerRoute enables it
// there, so that a connection manager does not depend on which policies are attached.
type Filter struct {
	// Name names the filter. It is unique among all filters.
	Name string
	// Config is the configuration in the connection manager.
	Config proto.Message
	// Off is the configuration with which the filter does nothing on a route. It may only be set if Envoy takes the
	// most specific configuration of the filter as a whole. Then a policy on a Gateway is configured once for all
	// routes, and routes that it does not cover have Off (docs/decisions/053-filters-of-many-routes.md). Without Off,
	// each route has the configuration.
	Off proto.Message
	// GRPC reports whether the filter is for the requests of GRPCRoutes alone.
	GRPC bool
	// Always reports whether the filter acts on routes that do not disable it.
	Always bool
}

// HTTP returns the filter as connection managers have it.
func (f *Filter) HTTP() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:       f.Name,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: Any(f.Config)},
		Disabled:   !f.Always,
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

// Composite configures a filter that does nothing on a route until Whole makes it another filter there. It is for
// filters whose own per-route configuration cannot say everything (docs/decisions/012-external-auth.md).
func Composite() *compositev3.Composite { return &compositev3.Composite{} }

// Extension is an HTTP filter by its name, with its configuration.
func Extension(filter string, config proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: filter, TypedConfig: Any(config)}
}

// Whole makes a composite filter, on a route, the given filters in their order. Only the last one may wait for
// something: behind one that waited, Envoy 1.40 passes over the others.
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
