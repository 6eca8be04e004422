// Package grpcweb makes gRPC of what browsers can send, gRPC-Web in its binary and its text form
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md), on the routes of GRPCRoutes. A backend of an
// HTTPRoute may speak gRPC-Web itself.
package grpcweb

import (
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// Filter is the name of the HTTP filter. It leaves all other requests alone.
const Filter = "envoy.filters.http.grpc_web"

// Feature enables the filter.
var Feature = feature.Feature[gwapiv1.HTTPRouteRule]{
	Route: func(_ *gwapiv1.HTTPRouteRule, _ feature.Have, route *feature.Route) {
		if route.GRPC && route.GetRoute() != nil {
			feature.Enable(route.Route, Filter)
		}
	},
	Filters: []feature.Filter{{Name: Filter, Config: &grpcwebv3.GrpcWeb{}, GRPC: true}},
}
