package translator

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/cors"
	"gatehouse/policies/verdict"
)

// checkCORS finds what is wrong with a CORS filter.
func checkCORS(f *gwapiv1.HTTPRouteFilter, field string) []verdict.Problem {
	if f.Type != gwapiv1.HTTPRouteFilterCORS || f.CORS == nil {
		return nil
	}
	return cors.CheckFilter(field+".cors", f.CORS)
}

func setCORS(b *routeBuilder, f *gwapiv1.HTTPRouteFilter) {
	if f.CORS != nil {
		cors.SetFilter(f.CORS, b.route)
	}
}

// preflighted reports whether a browser asks beforehand for a request of the rule that has the match: it does so by another method, which
// the match does not let through. It holds for rules that answer 500 too, whose preflights must not be answered by another rule.
func preflighted(bound *boundRule, match *gwapiv1.HTTPRouteMatch) bool {
	if match == nil || match.Method == nil || *match.Method == gwapiv1.HTTPMethodOptions {
		return false
	}
	for _, f := range bound.rules.Route.Rules[bound.rule].Filters {
		if f.Type == gwapiv1.HTTPRouteFilterCORS {
			return true
		}
	}
	return slices.ContainsFunc(bound.policies, func(p *policyRow) bool { return p != nil && p.Preflighted })
}

// asPreflight turns the route of a match into that of its preflights: of the requests that ask, from another origin, for the match's
// method. They are told from other requests by two headers, so their match is the more specific one.
func asPreflight(route *routev3.Route, order *precedence) *routev3.Route {
	preflight := proto.CloneOf(route)
	headers := preflight.GetMatch().GetHeaders()
	at := slices.IndexFunc(headers, func(h *routev3.HeaderMatcher) bool { return h.GetName() == methodHeader })
	asked := headers[at].GetStringMatch()
	headers[at] = headerMatch(methodHeader, exactly(string(gwapiv1.HTTPMethodOptions)))
	preflight.Match.Headers = append(headers,
		&routev3.HeaderMatcher{Name: "origin", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}},
		headerMatch("access-control-request-method", asked),
	)
	order.headers += 2
	return preflight
}
