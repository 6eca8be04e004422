// Package requestbuffer is the requestBuffer part of a BackendTrafficPolicy: requests are forwarded when their bodies are
// complete.
package requestbuffer

import (
	"math"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// filter is the HTTP filter that becomes the buffer of a route. Envoy's own filter needs a limit for all routes.
const filter = "envoy.filters.http.composite/buffer"

// websocket is the protocol that connection managers let clients change to by default.
const websocket = "websocket"

// Feature is the requestBuffer part.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:  "requestBuffer",
	Check: check,
	Route: route,
	Effective: func(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if b := spec.RequestBuffer; b != nil {
			e.MaxRequestBody = new(b.Limit.Value())
		}
	},
	Filters: []feature.Filter{{Name: filter, Config: feature.Composite(), Off: feature.Nothing()}},
}

func check(spec *v1alpha1.BackendTrafficPolicySpec) []verdict.Problem {
	if spec.RequestBuffer == nil {
		return nil
	}
	if len(spec.HTTPUpgrade) > 0 {
		return []verdict.Problem{feature.Invalid("requestBuffer",
			"bodies cannot be held on a connection that changes to another protocol: remove requestBuffer or httpUpgrade")}
	}
	return feature.CheckQuantity("requestBuffer.limit", &spec.RequestBuffer.Limit, 1, math.MaxUint32, "64Ki")
}

func route(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, route *feature.Route) {
	if spec.RequestBuffer == nil || len(check(spec)) > 0 {
		return
	}
	config := &bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(uint32(spec.RequestBuffer.Limit.Value()))}
	buffer := feature.Whole(feature.Extension("envoy.filters.http.buffer", config))
	buffer.Matcher.MatcherType = upgradesRefused
	feature.PerRoute(route.Route, filter, buffer)
	// What is sent over an upgraded connection would be held back as the body of the request.
	route.Forward().UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{
		UpgradeType: websocket, Enabled: wrapperspb.Bool(false),
	}}
}

// upgradesRefused answers requests for an upgrade with 403 in place of the buffer. They come as far as this only on
// listeners with filters, where Envoy upgrades connections before it knows the route.
var upgradesRefused = &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{
	Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{
		Predicate: feature.Is("upgrade", &matcherv3.HttpRequestHeaderMatchInput{HeaderName: "upgrade"},
			&xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: websocket}, IgnoreCase: true}),
		OnMatch: feature.Whole(feature.Extension("envoy.filters.http.rbac", &rbacv3.RBAC{Rules: &rulesv3.RBAC{}})).Matcher.OnNoMatch,
	}},
}}
