// Package redirect is the RequestRedirect filter of rules.
package redirect

import (
	"cmp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
	"gatehouse/policies/verdict"
)

// Feature is the filter. A redirect that takes its host from the request differs by virtual host.
var Feature = feature.Feature[gwapiv1.HTTPRouteRule]{
	Types:  []gwapiv1.HTTPRouteFilterType{gwapiv1.HTTPRouteFilterRequestRedirect},
	Check:  check,
	Route:  route,
	Cost:   cost,
	Traits: traits,

	Effective: effective,

	Filters: []feature.Filter{{Name: locationFilter, Config: &metadatav3.Config{}}},
}

func traits(rule *gwapiv1.HTTPRouteRule) feature.Traits {
	traits := feature.Traits{Answers: true}
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterRequestRedirect) {
		if f.RequestRedirect != nil && paths.ReplacesPrefix(f.RequestRedirect.Path) {
			traits.ReplacesPrefix = true
		}
	}
	return traits
}

// defaultCode is the status code of a redirect that names none (Gateway API, HTTPRequestRedirectFilter statusCode).
const defaultCode = 302

// codes are Envoy's names of the status codes.
var codes = map[int]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

func check(rule *gwapiv1.HTTPRouteRule) []verdict.Problem {
	var problems []verdict.Problem
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterRequestRedirect) {
		if f.RequestRedirect != nil {
			problems = append(problems, paths.CheckReplacement(rule, f.RequestRedirect.Path, field+".requestRedirect.path")...)
		}
	}
	return problems
}

func route(rule *gwapiv1.HTTPRouteRule, _ feature.Have, route *feature.Route) {
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterRequestRedirect) {
		spec := f.RequestRedirect
		if spec == nil {
			continue
		}
		action := &routev3.RedirectAction{ResponseCode: codes[ptr.Deref(spec.StatusCode, defaultCode)]}
		if spec.Scheme != nil {
			action.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: *spec.Scheme}
		}
		action.HostRedirect = string(ptr.Deref(spec.Hostname, ""))
		action.PortRedirect = port(spec, route)
		setPath(action, spec.Path, route.Match)
		route.Action = &routev3.Route_Redirect{Redirect: action}
		if route.OnHost = nil; action.HostRedirect == "" {
			route.OnHost = toHost(route.Scheme)
		}
	}
}

func effective(rule *gwapiv1.HTTPRouteRule, _ feature.Have, e *feature.Effective) {
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterRequestRedirect) {
		if spec := f.RequestRedirect; spec != nil {
			e.Redirect = &feature.Redirect{
				Scheme: ptr.Deref(spec.Scheme, ""), Hostname: string(ptr.Deref(spec.Hostname, "")),
				StatusCode: int64(ptr.Deref(spec.StatusCode, defaultCode)),
			}
			if spec.Port != nil {
				e.Redirect.Port = new(int64(*spec.Port))
			}
		}
	}
}

// wellKnownPorts are those that a scheme implies: a Location does not name them (Gateway API, HTTPRequestRedirectFilter
// port).
var wellKnownPorts = map[string]int32{"http": 80, "https": 443}

// port returns the port of the Location: the given one, else the well-known one of the given scheme, else the
// listener's. It is 0 if the Location needs none, since its scheme implies it.
func port(spec *gwapiv1.HTTPRequestRedirectFilter, from *feature.Route) uint32 {
	scheme := cmp.Or(ptr.Deref(spec.Scheme, ""), from.Scheme)
	number := from.Port
	switch {
	case spec.Port != nil:
		number = *spec.Port
	case spec.Scheme != nil:
		number = wellKnownPorts[scheme]
	}
	if number == wellKnownPorts[scheme] {
		return 0
	}
	return uint32(number)
}

func setPath(action *routev3.RedirectAction, path *gwapiv1.HTTPPathModifier, match *gwapiv1.HTTPRouteMatch) {
	if path == nil {
		return
	}
	switch path.Type {
	case gwapiv1.FullPathHTTPPathModifier:
		full := cmp.Or(ptr.Deref(path.ReplaceFullPath, ""), "/")
		action.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: full}
	case gwapiv1.PrefixMatchHTTPPathModifier:
		prefix, expression := paths.ReplacePrefix(match, path)
		if expression != nil {
			action.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: expression}
			return
		}
		action.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: prefix}
	}
}

// toHost makes a redirect that names no host lead to the virtual host's if that is exact, else to that of the request;
// the port that the client names makes no difference. Requests have the scheme.
func toHost(scheme string) func(route *routev3.Route, host string) *routev3.Route {
	return func(route *routev3.Route, host string) *routev3.Route {
		r, wild := route.GetRedirect(), strings.Contains(host, "*")
		if wild && r.GetPortRedirect() != 0 {
			return route // Envoy writes it in place of the client's.
		}
		route = proto.CloneOf(route)
		if wild {
			withoutPort(route, cmp.Or(r.GetSchemeRedirect(), scheme))
		} else {
			route.GetRedirect().HostRedirect = host
		}
		return route
	}
}

func cost(rule *gwapiv1.HTTPRouteRule) (c feature.Cost) {
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterRequestRedirect) {
		if spec := f.RequestRedirect; spec != nil {
			c.Route += paths.ReplacementCost(spec.Path) + feature.PerText*int64(len(ptr.Deref(spec.Hostname, ""))) +
				locationCost(spec)
		}
	}
	return c
}
