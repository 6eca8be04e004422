package rewrite

import (
	"cmp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
	"gatehouse/policies/verdict"
)

// PathIn returns how filters rewrite the path, nil if they leave it.
func PathIn(filters []gwapiv1.HTTPRouteFilter) (path *gwapiv1.HTTPPathModifier) {
	for i := range filters {
		f := &filters[i]
		if f.Type == gwapiv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil && f.URLRewrite.Path != nil {
			path = f.URLRewrite.Path
		}
	}
	return path
}

// CheckPath finds a replacement of a prefix where a match of the rule has no prefix to replace. Field is the path of
// the modifier, which may be nil.
func CheckPath(rule *gwapiv1.HTTPRouteRule, path *gwapiv1.HTTPPathModifier, field string) []verdict.Problem {
	if path == nil || path.Type != gwapiv1.PrefixMatchHTTPPathModifier {
		return nil
	}
	for m := range rule.Matches {
		p := rule.Matches[m].Path
		if p != nil && cmp.Or(ptr.Deref(p.Type, ""), gwapiv1.PathMatchPathPrefix) != gwapiv1.PathMatchPathPrefix {
			return []verdict.Problem{feature.Incompatible(field+".type",
				"%s needs matches of type PathPrefix, but match %d is of type %s: use ReplaceFullPath or change the match",
				path.Type, m, *p.Type)}
		}
	}
	return nil
}

// checkMirrored finds a path of a backendRef that mirrors would get too, since Envoy makes the mirrored request of the
// one that it forwards. The path is for requests to that backend only (Gateway API, HTTPBackendRef filters).
func checkMirrored(rule *gwapiv1.HTTPRouteRule, path *gwapiv1.HTTPPathModifier, field string) []verdict.Problem {
	mirror := feature.FilterOf(rule, gwapiv1.HTTPRouteFilterRequestMirror)
	if path == nil || mirror < 0 {
		return nil
	}
	p := feature.Incompatible(field, "the rule mirrors requests (filters[%d]), and Envoy would mirror them with this path too, "+
		"so the rule answers 500: rewrite the path in the rule, or give the backend a rule of its own", mirror)
	p.Weight = verdict.Unresolved
	return []verdict.Problem{p}
}

// SetPath makes requests of a match be forwarded with another path, and replaces what was set before. The match is nil
// for all requests.
func SetPath(action *routev3.RouteAction, match *gwapiv1.HTTPRouteMatch, path *gwapiv1.HTTPPathModifier) {
	action.PrefixRewrite, action.RegexRewrite = "", nil
	switch path.Type {
	case gwapiv1.FullPathHTTPPathModifier:
		action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
			Pattern:      &matcherv3.RegexMatcher{Regex: "^/.*$"},
			Substitution: Substitution(cmp.Or(ptr.Deref(path.ReplaceFullPath, ""), "/")),
		}
	case gwapiv1.PrefixMatchHTTPPathModifier:
		action.PrefixRewrite, action.RegexRewrite = Prefix(match, path)
	}
}

// Prefix returns how the prefix of a match is replaced: by a text, or by a regular expression, which is nil if the text
// says it all.
//
// Where a prefix is replaced by the root, or the root by a prefix, the slash in between must be neither doubled nor
// lost, which only a regular expression can say. The same is true where escapes may be written in two cases.
func Prefix(match *gwapiv1.HTTPRouteMatch, path *gwapiv1.HTTPPathModifier) (string, *matcherv3.RegexMatchAndSubstitute) {
	prefix := "/"
	if match != nil && match.Path != nil {
		prefix = paths.Value(match.Path)
	}
	// The replacement has no trailing slash, since the matched prefix has none either.
	replacement := cmp.Or(strings.TrimRight(ptr.Deref(path.ReplacePrefixMatch, ""), "/"), "/")
	pattern, escapes := paths.Pattern(strings.TrimRight(prefix, "/"))
	substitute := func(pattern, by string) (string, *matcherv3.RegexMatchAndSubstitute) {
		return "", &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: pattern}, Substitution: Substitution(by)}
	}
	switch {
	case prefix == "/" && replacement != "/":
		return substitute("^/", replacement+"/")
	case replacement == "/":
		return substitute("^"+pattern+`/*`, "/")
	case escapes:
		return substitute("^"+pattern, replacement)
	}
	return replacement, nil
}

// Substitution returns a text as RE2 has to read it where it replaces a match: a backslash would refer to a group.
func Substitution(text string) string { return strings.ReplaceAll(text, `\`, `\\`) }

// MatchCost is what the expressions cost that a match needs to have its prefix replaced, in bytes (Prefix).
func MatchCost(path string) int64 {
	pattern, _ := paths.Pattern(path)
	return feature.Expressions("^" + pattern + "/*")
}

// ReplacesPrefix reports whether a rule, or a backendRef of it, replaces the prefix of paths.
func ReplacesPrefix(rule *gwapiv1.HTTPRouteRule) bool {
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterURLRewrite, gwapiv1.HTTPRouteFilterRequestRedirect) {
		if replacesPrefix(f) {
			return true
		}
	}
	for _, f := range feature.BackendFilters(rule, gwapiv1.HTTPRouteFilterURLRewrite) {
		if replacesPrefix(f) {
			return true
		}
	}
	return false
}

func replacesPrefix(f *gwapiv1.HTTPRouteFilter) bool {
	var path *gwapiv1.HTTPPathModifier
	switch {
	case f.URLRewrite != nil:
		path = f.URLRewrite.Path
	case f.RequestRedirect != nil:
		path = f.RequestRedirect.Path
	}
	return path != nil && path.Type == gwapiv1.PrefixMatchHTTPPathModifier
}
