package cors

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// defaultMaxAge is the default for how many seconds a browser may cache a preflight (Gateway API, HTTPCORSFilter
// maxAge).
const defaultMaxAge = 5

// CheckFilter reports the problems of the CORS filter of an HTTPRoute. field is the path of the filter's cors field.
func CheckFilter(field string, spec *gwapiv1.HTTPCORSFilter) []verdict.Problem {
	var problems []verdict.Problem
	for i, origin := range spec.AllowOrigins {
		if _, err := matcher(string(origin)); err != nil {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s.allowOrigins[%d]", field, i), "%v", err))
		}
	}
	problems = slices.Concat(problems,
		checkTokens(field+".allowMethods", textsOf(spec.AllowMethods), "name of a method"),
		checkTokens(field+".allowHeaders", textsOf(spec.AllowHeaders), "name of a header"),
		checkTokens(field+".exposeHeaders", textsOf(spec.ExposeHeaders), "name of a header"),
	)
	for i := range problems {
		problems[i].Reason = string(gwapiv1.RouteReasonUnsupportedValue)
	}
	return problems
}

// SetFilter sets the CORS filter of an HTTPRoute on a route, and replaces that of a policy.
func SetFilter(spec *gwapiv1.HTTPCORSFilter, route *routev3.Route) {
	s := settings{
		origins: textsOf(spec.AllowOrigins), methods: textsOf(spec.AllowMethods), headers: textsOf(spec.AllowHeaders),
		exposed: textsOf(spec.ExposeHeaders), credentials: spec.AllowCredentials,
		maxAge: strconv.Itoa(int(cmp.Or(spec.MaxAge, defaultMaxAge))),
	}
	s.set(route)
}

// Preflighted reports whether CORS is enabled on the route, so that browsers send a preflight before a request.
func Preflighted(route *routev3.Route) bool { return route.GetTypedPerFilterConfig()[Filter] != nil }
