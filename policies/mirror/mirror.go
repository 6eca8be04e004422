// Package mirror is the RequestMirror filter of rules: other backends get a share of the requests too.
package mirror

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the filter.
var Feature = feature.Feature[gwapiv1.HTTPRouteRule]{
	Types: []gwapiv1.HTTPRouteFilterType{gwapiv1.HTTPRouteFilterRequestMirror},
	Check: check,
	Needs: needs,
	Route: route,

	Effective: effective,
}

// backendRef is the path of the backend, behind that of the filter.
const backendRef = ".requestMirror.backendRef"

// check finds a filter in a rule that redirects: Envoy redirects before it mirrors requests.
func check(rule *gwapiv1.HTTPRouteRule) []verdict.Problem {
	redirect := feature.FilterOf(rule, gwapiv1.HTTPRouteFilterRequestRedirect)
	if redirect < 0 {
		return nil
	}
	var problems []verdict.Problem
	for field := range feature.Filters(rule, gwapiv1.HTTPRouteFilterRequestMirror) {
		problems = append(problems, feature.Incompatible(field+".type",
			"a rule that redirects (filters[%d]) has no requests to mirror: mirror them in the rule that serves the new location", redirect))
	}
	return problems
}

// needs lists the backends. A rule is served without those that cannot be used (Gateway API, HTTPRequestMirrorFilter
// backendRef).
func needs(rule *gwapiv1.HTTPRouteRule) []feature.Need {
	var needs []feature.Need
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterRequestMirror) {
		if f.RequestMirror != nil {
			needs = append(needs, feature.Need{
				Field: field + backendRef, Backend: feature.OneBackend(f.RequestMirror.BackendRef), Optional: true,
			})
		}
	}
	return needs
}

func route(rule *gwapiv1.HTTPRouteRule, have feature.Have, route *feature.Route) {
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterRequestMirror) {
		cluster, ok := have.Clusters[field+backendRef]
		if f.RequestMirror == nil || !ok {
			continue
		}
		action := route.Forward()
		action.RequestMirrorPolicies = append(action.RequestMirrorPolicies, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:         cluster.Name,
			RuntimeFraction: mirrored(f.RequestMirror),
			// The backend gets the host that the client named, as the request's own backend does.
			DisableShadowHostSuffixAppend: true,
		})
	}
}

// effective says which of the backends get copies: those that can be used.
func effective(rule *gwapiv1.HTTPRouteRule, have feature.Have, e *feature.Effective) {
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterRequestMirror) {
		if _, ok := have.Clusters[field+backendRef]; f.RequestMirror != nil && ok {
			e.Mirrors = append(e.Mirrors, feature.Mirror{Backend: e.Backend(&f.RequestMirror.BackendRef)})
		}
	}
}

// mirrored returns the share of the requests that are mirrored, nil for all.
func mirrored(spec *gwapiv1.HTTPRequestMirrorFilter) *corev3.RuntimeFractionalPercent {
	var share *typev3.FractionalPercent
	switch {
	case spec.Percent != nil:
		share = &typev3.FractionalPercent{
			Numerator:   uint32(max(*spec.Percent, 0)),
			Denominator: typev3.FractionalPercent_HUNDRED,
		}
	case spec.Fraction != nil:
		share = feature.Portion(spec.Fraction)
	default:
		return nil
	}
	return &corev3.RuntimeFractionalPercent{DefaultValue: share}
}
