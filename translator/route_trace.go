package translator

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// traceFilter is the HTTP filter that refuses requests of method TRACE, whose answer shows a client what proxies on the way have added to its request,
// credentials among it (RFC 9110, section 9.3.8). It stands in the connection manager, so that it costs a route nothing.
const traceFilter = "envoy.filters.http.fault/trace"

// traceRefusal is the filter, which answers 501 (RFC 9110, section 15.6.2) before any other filter sees the request.
func traceRefusal() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: traceFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&faultv3.HTTPFault{
		Headers: []*routev3.HeaderMatcher{headerMatch(methodHeader, exactly(string(gwapiv1.HTTPMethodTrace)))},
		Abort: &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 501},
			Percentage: &typev3.FractionalPercent{Numerator: 100},
		},
	})}}
}

// allowTrace has the route of a match that names method TRACE get its requests.
func allowTrace(route *routev3.Route, match *gwapiv1.HTTPRouteMatch) {
	if match == nil || deref(match.Method) != gwapiv1.HTTPMethodTrace {
		return
	}
	feature.PerRoute(route, traceFilter, &routev3.FilterConfig{Disabled: true, Config: &anypb.Any{}})
}
