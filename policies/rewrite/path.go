package rewrite

import (
	"cmp"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
	"gatehouse/policies/verdict"
)

// pathIn returns how filters rewrite the path, nil if they leave it.
func pathIn(filters []gwapiv1.HTTPRouteFilter) (path *gwapiv1.HTTPPathModifier) {
	for i := range filters {
		f := &filters[i]
		if f.Type == gwapiv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil && f.URLRewrite.Path != nil {
			path = f.URLRewrite.Path
		}
	}
	return path
}

func replacesPrefix(filters []gwapiv1.HTTPRouteFilter) bool {
	return slices.ContainsFunc(filters, func(f gwapiv1.HTTPRouteFilter) bool {
		return f.URLRewrite != nil && paths.ReplacesPrefix(f.URLRewrite.Path)
	})
}

// checkMirrored finds a path of a backendRef that mirrors would get too, since Envoy makes the mirrored request of the
// one that it forwards. The path is for requests to that backend only (Gateway API, HTTPBackendRef filters).
func checkMirrored(rule *gwapiv1.HTTPRouteRule, path *gwapiv1.HTTPPathModifier, field string) []verdict.Problem {
	mirror := feature.FilterOf(rule, gwapiv1.HTTPRouteFilterRequestMirror)
	if path == nil || mirror < 0 {
		return nil
	}
	p := feature.Incompatible(field,
		"the rule mirrors requests (filters[%d]), and Envoy would mirror them with this path too, "+
			"so the rule answers 500: rewrite the path in the rule, or give the backend a rule of its own", mirror)
	p.Weight = verdict.Unresolved
	return []verdict.Problem{p}
}

// setPath makes requests of a match be forwarded with another path, and replaces what was set before. The match is nil
// for all requests.
func setPath(action *routev3.RouteAction, match *gwapiv1.HTTPRouteMatch, path *gwapiv1.HTTPPathModifier) {
	action.PrefixRewrite, action.RegexRewrite = "", nil
	switch path.Type {
	case gwapiv1.FullPathHTTPPathModifier:
		action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
			Pattern:      &matcherv3.RegexMatcher{Regex: "^/.*$"},
			Substitution: paths.Substitution(cmp.Or(ptr.Deref(path.ReplaceFullPath, ""), "/")),
		}
	case gwapiv1.PrefixMatchHTTPPathModifier:
		action.PrefixRewrite, action.RegexRewrite = paths.ReplacePrefix(match, path)
	}
}
