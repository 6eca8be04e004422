package translator

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// anySegment matches a service or a method of any name. gRPC's path is /service/method (gRPC over HTTP/2, requests).
const anySegment = "[^/]+"

// Gateway API requires gRPC's UNAVAILABLE if a GRPCRoute cannot be carried out. gRPC clients read 503 as that
// (GRPCRouteRule, backendRefs).
var grpcRoutes = routeKind{
	Name: "GRPCRoute",
	New:  func() Object { return &gwapiv1.GRPCRoute{} },
	read: func(o Object, row *routeRow) {
		spec := &o.(*gwapiv1.GRPCRoute).Spec
		row.Parents, row.Hostnames, row.Rules = spec.ParentRefs, spec.Hostnames, httpRules(spec.Rules)
	},
	status:    func(o Object) *gwapiv1.RouteStatus { return &o.(*gwapiv1.GRPCRoute).Status.RouteStatus },
	transport: corev1.ProtocolTCP,
	failure:   503,
	http2:     true,
	checkMatch: func(route *routeRow, rule, match int, field string) []verdict.Problem {
		return checkMethodMatch(&route.Object.(*gwapiv1.GRPCRoute).Spec.Rules[rule].Matches[match], field)
	},
	precedence: func(route *routeRow, rule, match int) precedence {
		if match < 0 {
			return methodPrecedence(&gwapiv1.GRPCRouteMatch{})
		}
		return methodPrecedence(&route.Object.(*gwapiv1.GRPCRoute).Spec.Rules[rule].Matches[match])
	},
}

// httpRules puts the rules of a GRPCRoute into HTTPRoute's terms: a method is a path.
func httpRules(rules []gwapiv1.GRPCRouteRule) []feature.Rule {
	out := make([]feature.Rule, len(rules))
	for i, rule := range rules {
		out[i].GRPC, out[i].Name, out[i].Filters = true, rule.Name, httpFilters(rule.Filters)
		out[i].SessionPersistence = rule.SessionPersistence
		for _, m := range rule.Matches {
			out[i].Matches = append(out[i].Matches, httpMatch(m))
		}
		for _, b := range rule.BackendRefs {
			out[i].BackendRefs = append(out[i].BackendRefs, gwapiv1.HTTPBackendRef{
				BackendRef: b.BackendRef,
				Filters:    httpFilters(b.Filters),
			})
		}
	}
	return out
}

func httpFilters(filters []gwapiv1.GRPCRouteFilter) []gwapiv1.HTTPRouteFilter {
	var out []gwapiv1.HTTPRouteFilter
	for _, f := range filters {
		out = append(out, gwapiv1.HTTPRouteFilter{
			Type: gwapiv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		})
	}
	return out
}

func httpMatch(m gwapiv1.GRPCRouteMatch) gwapiv1.HTTPRouteMatch {
	out := gwapiv1.HTTPRouteMatch{Path: methodPath(m.Method)}
	for _, h := range m.Headers {
		kind := gwapiv1.HeaderMatchType(deref(h.Type))
		out.Headers = append(out.Headers, gwapiv1.HTTPHeaderMatch{
			Type: &kind, Name: gwapiv1.HTTPHeaderName(h.Name),
			Value: h.Value,
		})
	}
	return out
}

// methodPath is the path of the methods that are matched; nil is every path.
func methodPath(m *gwapiv1.GRPCMethodMatch) *gwapiv1.HTTPPathMatch {
	service, method := "", ""
	if m != nil {
		service, method = deref(m.Service), deref(m.Method)
	}
	path := func(kind gwapiv1.PathMatchType, value string) *gwapiv1.HTTPPathMatch {
		return &gwapiv1.HTTPPathMatch{Type: &kind, Value: &value}
	}
	switch {
	case service == "" && method == "":
		return nil
	case deref(m.Type) == gwapiv1.GRPCMethodMatchRegularExpression:
		return path(gwapiv1.PathMatchRegularExpression, fmt.Sprintf("/(?:%s)/(?:%s)", cmp.Or(service, anySegment),
			cmp.Or(method, anySegment)))
	case method == "":
		return path(gwapiv1.PathMatchPathPrefix, "/"+service)
	case service == "":
		return path(gwapiv1.PathMatchRegularExpression, "/"+anySegment+"/"+regexp.QuoteMeta(method))
	}
	return path(gwapiv1.PathMatchExact, "/"+service+"/"+method)
}

// checkMethodMatch is checkMatch in the fields of a GRPCRoute.
func checkMethodMatch(m *gwapiv1.GRPCRouteMatch, field string) []verdict.Problem {
	var problems []verdict.Problem
	if m.Method != nil && deref(m.Method.Type) == gwapiv1.GRPCMethodMatchRegularExpression {
		problems = appendRegex(problems, field+".method.service", deref(m.Method.Service))
		problems = appendRegex(problems, field+".method.method", deref(m.Method.Method))
		if path := methodPath(m.Method); path != nil && len(problems) == 0 {
			// Each part may be short enough, and both too long.
			problems = appendPathRegex(problems, field+".method", *path.Value)
		}
	}
	for i, h := range m.Headers {
		if deref(h.Type) == gwapiv1.GRPCHeaderMatchRegularExpression {
			problems = appendRegex(problems, fmt.Sprintf("%s.headers[%d].value", field, i), h.Value)
		}
	}
	return problems
}

// methodPrecedence orders the matches of GRPCRoutes: by the length of the service, then of the method, then by headers
// (GRPCRouteRule, matches).
func methodPrecedence(m *gwapiv1.GRPCRouteMatch) precedence {
	name := func(h gwapiv1.GRPCHeaderMatch) string { return strings.ToLower(string(h.Name)) }
	p := precedence{headers: len(firstOf(m.Headers, name))}
	if m.Method != nil {
		p.pathLength = len(deref(m.Method.Service))<<16 + len(deref(m.Method.Method))
	}
	return p
}
