// Package feature defines a feature: one part of the spec of an object, and the whole effect of this part.
//
// A feature is a value, not an interface: a function that it does not need is nil. The lists of features in package
// policies are the only place that enumerates features.
package feature

import (
	"net/netip"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/policies/verdict"
)

// Feature is one part of the spec S of an object, and all that it means.
//
// The feature does not know where its spec stands: all fields of problems and needs are relative to S. Whoever binds the
// feature to an object puts the path of S before them (docs/decisions/055-what-features-are-given.md).
type Feature[S any] struct {
	// Name is the field of the spec that the feature is about, such as timeout. It is empty for a feature that helps another.
	Name string
	// Check finds what is wrong with the spec. It is pure, and the only place where the feature judges its input. The other
	// functions may get a spec that did not pass; they leave out what cannot be expressed.
	Check func(spec *S) []verdict.Problem
	// Needs lists what must be looked up outside of the spec. It is nil if the feature refers to nothing.
	Needs func(spec *S) []Need
	// Keys are the keys of Secrets and ConfigMaps that Needs can name. Caches keep only these.
	Keys []ContentKey
	// Cluster sets the feature's part on a cluster, its default included if the spec does not say. It is nil if the feature
	// does not shape clusters.
	Cluster func(spec *S, have Have, upstream *Upstream)
	// Route sets the feature's part on a route. It is nil if the feature does not shape routes. For a policy it is called
	// once, with an empty route that forwards, and the result is merged into each route that the policy covers.
	Route func(spec *S, have Have, route *Route)
	// Connection sets the feature's part on connections that are forwarded without looking into them. It is nil if the
	// feature is about requests only.
	Connection func(spec *S, have Have, connection *Connection)
	// Filter makes the HTTP filter that the feature needs in every connection manager. It is disabled there, so that a
	// connection manager does not depend on which policies are attached, and Route enables it. It is nil if the feature
	// needs none.
	Filter func() *hcmv3.HttpFilter
	// Off is the configuration with which Filter does nothing on a route. It is set only if Envoy takes the most specific
	// configuration of the filter as a whole. Then a policy on a Gateway is configured once for all routes, and routes
	// that it does not cover have Off (docs/decisions/053-filters-of-many-routes.md). Without Off, each route has the
	// configuration.
	Off proto.Message
}

// Route is a route under construction.
type Route struct {
	*routev3.Route
	// Owner is the namespace/name of the object that the spec is of, for names that Envoy's logs and statistics show.
	Owner string
}

// Connection is what is known of connections that are forwarded without looking into them.
type Connection struct {
	// Sources are the addresses from which connections may come; nil allows all.
	Sources *Sources
	// HashSource asks that connections from one address go to the same endpoint.
	HashSource bool
	// Retries is how often another endpoint is tried for a connection.
	Retries uint32
	// Unprotected is the field of a part that protects requests and cannot protect connections, so that none may be
	// forwarded. It is empty if there is none.
	Unprotected string
}

// Sources are the addresses from which connections may come, and those from which they may not. Of ranges that contain an address the
// longest counts; what is in none may not. Both are sorted.
type Sources struct {
	Allowed, Denied []netip.Prefix
}

// Equal compares what the ranges say.
func (s *Sources) Equal(o *Sources) bool {
	if s == nil || o == nil {
		return s == o
	}
	return slices.Equal(s.Allowed, o.Allowed) && slices.Equal(s.Denied, o.Denied)
}

// Upstream is a cluster being built. Features set what they are about and leave the rest alone.
type Upstream struct {
	Cluster *clusterv3.Cluster
	// HTTP ends up in the cluster's typed_extension_protocol_options, which is up to whoever builds the cluster.
	HTTP *upstreamhttpv3.HttpProtocolOptions
	// Localities tells that the cluster holds several backends, each as a locality of its own. Whoever builds the cluster says so
	// beforehand, and gives every locality a name and a weight: Envoy sends nothing to one that lacks either.
	Localities bool
	// Once tells that a request which no endpoint got is not tried at another one by default. Whoever builds the cluster says so beforehand.
	Once bool
	// Together is set by a feature that needs all backends of a rule in one cluster, since it chooses among all their
	// endpoints. Otherwise each backend may have a cluster of its own.
	Together bool
}

// NewUpstream is an upstream on which nothing is set yet.
func NewUpstream() *Upstream {
	return &Upstream{Cluster: &clusterv3.Cluster{}, HTTP: &upstreamhttpv3.HttpProtocolOptions{}}
}

// DisabledFilter is an HTTP filter that does nothing on a route until PerRoute gives it a configuration there.
func DisabledFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:       name,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: Any(config)},
		Disabled:   true,
	}
}

// PerRoute gives the HTTP filter of that name its configuration on a route. A configuration of the filter's own per-route type
// also enables a filter that is disabled in the connection manager (Envoy: route based filter chain).
func PerRoute(route *routev3.Route, filter string, config proto.Message) {
	if route.TypedPerFilterConfig == nil {
		route.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	route.TypedPerFilterConfig[filter] = Any(config)
}

// Composite is an HTTP filter that does nothing on a route until Whole makes it another filter there. It is for filters whose
// own per-route configuration cannot say everything (docs/decisions/012-external-auth.md).
func Composite(name string) *hcmv3.HttpFilter { return DisabledFilter(name, &compositev3.Composite{}) }

// Whole makes a composite filter, on a route, the named filter with the configuration.
func Whole(filter string, config proto.Message) *compositev3.CompositePerRoute {
	action := &compositev3.ExecuteFilterAction{TypedConfig: &corev3.TypedExtensionConfig{Name: filter, TypedConfig: Any(config)}}
	return &compositev3.CompositePerRoute{Matcher: &xdsmatcherv3.Matcher{
		OnNoMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
			Action: &xdscorev3.TypedExtensionConfig{Name: filter, TypedConfig: Any(action)},
		}},
	}}
}

// Nothing makes a composite filter do nothing on a route, even if the route configuration makes it another filter.
func Nothing() *compositev3.CompositePerRoute {
	return &compositev3.CompositePerRoute{Matcher: &xdsmatcherv3.Matcher{}}
}

// Any packs a message, always into the same bytes. It panics on a message that cannot be encoded, which only strings that
// are not UTF-8 can cause; the API server and the YAML decoder let none through.
func Any(message proto.Message) *anypb.Any {
	packed := &anypb.Any{}
	if err := anypb.MarshalFrom(packed, message, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic("encoding an Envoy message: " + err.Error())
	}
	return packed
}
