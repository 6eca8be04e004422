// Package rewrite is the URLRewrite filter of rules and of their backendRefs: what host and path a backend gets.
package rewrite

import (
	"cmp"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
	"gatehouse/policies/verdict"
)

// Feature is the filter.
var Feature = feature.Feature[gwapiv1.HTTPRouteRule]{
	Types:  []gwapiv1.HTTPRouteFilterType{gwapiv1.HTTPRouteFilterURLRewrite},
	Check:  check,
	Route:  route,
	Settle: settleHost,
	Share:  share,
	Cost:   cost,
	Traits: traits,
}

func check(rule *gwapiv1.HTTPRouteRule) []verdict.Problem {
	var problems []verdict.Problem
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterURLRewrite) {
		if f.URLRewrite != nil {
			problems = append(problems, paths.CheckReplacement(rule, f.URLRewrite.Path, field+".urlRewrite.path")...)
		}
	}
	for field, f := range feature.BackendFilters(rule, gwapiv1.HTTPRouteFilterURLRewrite) {
		if f.URLRewrite != nil {
			problems = append(problems, paths.CheckReplacement(rule, f.URLRewrite.Path, field+".urlRewrite.path")...)
			problems = append(problems, checkMirrored(rule, f.URLRewrite.Path, field+".urlRewrite.path")...)
		}
	}
	return problems
}

func route(rule *gwapiv1.HTTPRouteRule, _ feature.Have, route *feature.Route) {
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterURLRewrite) {
		if f.URLRewrite == nil {
			continue
		}
		action := route.Forward()
		if f.URLRewrite.Hostname != nil {
			action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: string(*f.URLRewrite.Hostname)}
			action.AppendXForwardedHost = true
		}
		if f.URLRewrite.Path != nil {
			setPath(action, route.Match, f.URLRewrite.Path)
		}
	}
}

func share(backend *gwapiv1.HTTPRouteRule, share *feature.Share) {
	if host := hostIn(backend.Filters); host != "" {
		setHost(share.WeightedCluster_ClusterWeight, host)
	}
	if path := pathIn(backend.Filters); path != nil {
		share.OnRoute = func(route *feature.Route) { setPath(route.Forward(), route.Match, path) }
	}
}

func traits(rule *gwapiv1.HTTPRouteRule) feature.Traits {
	traits := feature.Traits{ReplacesPrefix: replacesPrefix(rule.Filters)}
	for i := range rule.BackendRefs {
		filters := rule.BackendRefs[i].Filters
		traits = traits.Or(feature.Traits{Apart: pathIn(filters) != nil, ReplacesPrefix: replacesPrefix(filters)})
	}
	return traits
}

func cost(rule *gwapiv1.HTTPRouteRule) feature.Cost {
	c := feature.Cost{Route: hostsCost(rule)}
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterURLRewrite) {
		if f.URLRewrite != nil {
			c.Route += paths.ReplacementCost(f.URLRewrite.Path)
		}
	}
	for _, f := range feature.BackendFilters(rule, gwapiv1.HTTPRouteFilterURLRewrite) {
		if f.URLRewrite != nil {
			c.Backends += paths.ReplacementCost(f.URLRewrite.Path)
		}
	}
	return c
}

// hostIn returns the host that filters write, empty if they leave it.
func hostIn(filters []gwapiv1.HTTPRouteFilter) (host string) {
	for i := range filters {
		if rewrite := filters[i].URLRewrite; rewrite != nil {
			host = cmp.Or(string(ptr.Deref(rewrite.Hostname, "")), host)
		}
	}
	return host
}
