package cors

import (
	"cmp"
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

// OfRule is the CORS filter of a rule. It replaces the cors part of a policy.
var OfRule = feature.Feature[gwapiv1.HTTPRouteRule]{
	Types: []gwapiv1.HTTPRouteFilterType{gwapiv1.HTTPRouteFilterCORS},
	Check: checkRule,
	Route: routeRule,
	Cost:  costOfRule,

	Effective: effectiveRule,
	Traits: func(rule *gwapiv1.HTTPRouteRule) feature.Traits {
		return feature.Traits{Preflights: feature.FilterOf(rule, gwapiv1.HTTPRouteFilterCORS) >= 0}
	},
}

func checkRule(rule *gwapiv1.HTTPRouteRule) []verdict.Problem {
	var problems []verdict.Problem
	redirect := feature.FilterOf(rule, gwapiv1.HTTPRouteFilterRequestRedirect)
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterCORS) {
		if redirect >= 0 { // Envoy redirects before it answers preflights.
			problems = append(problems, feature.Incompatible(field+".type",
				"a rule that redirects (filters[%d]) answers browsers of other origins with nothing else: "+
					"let them call the new location, and set CORS in the rule that serves it", redirect))
		}
		if f.CORS != nil {
			problems = append(problems, checkFilter(field+".cors", f.CORS)...)
		}
	}
	return problems
}

func checkFilter(field string, spec *gwapiv1.HTTPCORSFilter) []verdict.Problem {
	problems := feature.CheckOrigins(field+".allowOrigins", spec.AllowOrigins)
	return slices.Concat(problems,
		checkTokens(field+".allowMethods", textsOf(spec.AllowMethods), "name of a method"),
		checkTokens(field+".allowHeaders", textsOf(spec.AllowHeaders), "name of a header"),
		checkTokens(field+".exposeHeaders", textsOf(spec.ExposeHeaders), "name of a header"),
	)
}

func routeRule(rule *gwapiv1.HTTPRouteRule, _ feature.Have, route *feature.Route) {
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterCORS) {
		if f.CORS != nil {
			settingsOfRule(f.CORS).set(route.Route)
		}
	}
}

func settingsOfRule(spec *gwapiv1.HTTPCORSFilter) *settings {
	return &settings{
		origins: textsOf(spec.AllowOrigins), methods: textsOf(spec.AllowMethods), headers: textsOf(spec.AllowHeaders),
		exposed: textsOf(spec.ExposeHeaders), credentials: spec.AllowCredentials,
		maxAge: strconv.Itoa(int(cmp.Or(spec.MaxAge, defaultMaxAge))),
	}
}

func effectiveRule(rule *gwapiv1.HTTPRouteRule, _ feature.Have, e *feature.Effective) {
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterCORS) {
		if f.CORS != nil {
			e.CORS = settingsOfRule(f.CORS).effective()
		}
	}
}

func costOfRule(rule *gwapiv1.HTTPRouteRule) feature.Cost {
	trial := &routev3.Route{}
	routeRule(rule, feature.Have{}, &feature.Route{Route: trial})
	cost := feature.Cost{Route: feature.Encoded(trial)}
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterCORS) {
		if f.CORS != nil {
			cost.Route += feature.OriginsCost(f.CORS.AllowOrigins)
		}
	}
	return cost
}
