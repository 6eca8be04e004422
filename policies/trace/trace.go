// Package trace refuses requests of method TRACE unless a match names the method. The answer to such a request shows a
// client what proxies on the way have added to it, including credentials (RFC 9110, section 9.3.8).
package trace

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// filter is the name of the HTTP filter. It is enabled in the connection manager, so that it costs routes nothing.
const filter = "envoy.filters.http.fault/trace"

// Feature is the filter. It answers 501 (RFC 9110, section 15.6.2) before any other filter sees the request.
var Feature = feature.Feature[gwapiv1.HTTPRouteRule]{
	Filters: []feature.Filter{{
		Name: filter, Always: true, Off: &faultv3.HTTPFault{},
		Config: &faultv3.HTTPFault{
			Headers: []*routev3.HeaderMatcher{feature.HeaderIs(feature.MethodHeader,
				feature.Exactly(string(gwapiv1.HTTPMethodTrace)))},
			Abort: &faultv3.FaultAbort{
				ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 501},
				Percentage: &typev3.FractionalPercent{Numerator: 100},
			},
		},
	}},
	Settle: allow,
}

// allow lets the route of a match that names method TRACE get its requests, even if it answers 500.
func allow(_ *gwapiv1.HTTPRouteRule, route *feature.Route) {
	if match := route.Match; match != nil && match.Method != nil && *match.Method == gwapiv1.HTTPMethodTrace {
		feature.PerRoute(route.Route, filter, &routev3.FilterConfig{Disabled: true, Config: &anypb.Any{}})
	}
}
