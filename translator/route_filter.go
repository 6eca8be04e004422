package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// routeFilter is how one type of HTTPRoute filter is carried out on Envoy's route.
type routeFilter func(b *routeBuilder, f *gwapiv1.HTTPRouteFilter)

// routeFilters are the served types.
var routeFilters = map[gwapiv1.HTTPRouteFilterType]routeFilter{
	gwapiv1.HTTPRouteFilterRequestHeaderModifier:  requestHeaders,
	gwapiv1.HTTPRouteFilterResponseHeaderModifier: responseHeaders,
	gwapiv1.HTTPRouteFilterRequestRedirect:        redirect,
	gwapiv1.HTTPRouteFilterURLRewrite:             rewrite,
	gwapiv1.HTTPRouteFilterRequestMirror:          mirror,
	gwapiv1.HTTPRouteFilterCORS:                   setCORS,
	gwapiv1.HTTPRouteFilterExternalAuth:           externalAuth,
}

// backendFilters are the types that a backendRef may carry.
var backendFilters = map[gwapiv1.HTTPRouteFilterType]func(*routev3.WeightedCluster_ClusterWeight, *gwapiv1.HTTPRouteFilter){
	gwapiv1.HTTPRouteFilterRequestHeaderModifier: func(c *routev3.WeightedCluster_ClusterWeight, f *gwapiv1.HTTPRouteFilter) {
		add, remove := modifiers(f.RequestHeaderModifier)
		c.RequestHeadersToAdd, c.RequestHeadersToRemove = append(c.RequestHeadersToAdd, add...), remove
	},
	gwapiv1.HTTPRouteFilterResponseHeaderModifier: func(c *routev3.WeightedCluster_ClusterWeight, f *gwapiv1.HTTPRouteFilter) {
		c.ResponseHeadersToAdd, c.ResponseHeadersToRemove = modifiers(f.ResponseHeaderModifier)
	},
	gwapiv1.HTTPRouteFilterURLRewrite: rewriteHost,
}

// checkRule finds what keeps a rule from being carried out as written. Leaving a filter out is not an option (Gateway API,
// HTTPRouteFilter): such a rule answers 500.
func checkRule(rule *gwapiv1.HTTPRouteRule, field string) []verdict.Problem {
	var problems []verdict.Problem
	for i := range rule.Filters {
		path := fmt.Sprintf("%s.filters[%d]", field, i)
		problems = append(problems, checkFilter(&rule.Filters[i], path)...)
		problems = append(problems, checkModifiers(&rule.Filters[i], path)...)
		problems = append(problems, checkForwarding(rule, &rule.Filters[i], path)...)
		problems = append(problems, checkCORS(&rule.Filters[i], path)...)
		problems = append(problems, checkExternalAuth(rule, i, path)...)
		if rule.Filters[i].Type == gwapiv1.HTTPRouteFilterURLRewrite || rule.Filters[i].Type == gwapiv1.HTTPRouteFilterRequestRedirect {
			problems = append(problems, checkPrefixReplacement(rule, &rule.Filters[i], path)...)
		}
	}
	for b := range rule.BackendRefs {
		for i := range rule.BackendRefs[b].Filters {
			f, path := &rule.BackendRefs[b].Filters[i], fmt.Sprintf("%s.backendRefs[%d].filters[%d]", field, b, i)
			if backendFilters[f.Type] == nil {
				problems = append(problems, unservedFilter(path+".type", f.Type, "RequestHeaderModifier, ResponseHeaderModifier or URLRewrite"))
			}
			problems = append(problems, checkModifiers(f, path)...)
			problems = append(problems, checkPrefixReplacement(rule, f, path)...)
			problems = append(problems, checkBackendPath(rule, f, path)...)
		}
	}
	problems = append(problems, checkSession(rule, field)...)
	return append(problems, checkTimes(rule, field)...)
}

func checkFilter(f *gwapiv1.HTTPRouteFilter, field string) []verdict.Problem {
	if routeFilters[f.Type] == nil {
		return []verdict.Problem{unservedFilter(field+".type", f.Type, "RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, RequestMirror, CORS or ExternalAuth")}
	}
	return nil
}

// checkModifiers finds what is wrong with how a filter changes headers.
func checkModifiers(f *gwapiv1.HTTPRouteFilter, field string) []verdict.Problem {
	return asUnsupported(slices.Concat(
		feature.CheckHeaders(field+".requestHeaderModifier", f.RequestHeaderModifier),
		feature.CheckHeaders(field+".responseHeaderModifier", f.ResponseHeaderModifier),
	))
}

func unservedFilter(field string, t gwapiv1.HTTPRouteFilterType, served string) verdict.Problem {
	return verdict.Problem{
		Field: field, Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Unresolved,
		Message: fmt.Sprintf("filter %q is not served, so the rule answers 500; use %s", t, served),
	}
}

// unredirected are the types of filters that mean nothing where requests are not forwarded, with the way out.
var unredirected = map[gwapiv1.HTTPRouteFilterType]string{
	gwapiv1.HTTPRouteFilterRequestMirror: "has no requests to mirror; mirror them in the rule that serves the new location",
	gwapiv1.HTTPRouteFilterCORS:          "answers browsers of other origins with nothing else; let them call the new location, and set CORS in the rule that serves it",
}

// checkForwarding: Envoy redirects before it mirrors requests or answers preflights.
func checkForwarding(rule *gwapiv1.HTTPRouteRule, f *gwapiv1.HTTPRouteFilter, field string) []verdict.Problem {
	words, ok := unredirected[f.Type]
	if !ok {
		return nil
	}
	for i := range rule.Filters {
		if rule.Filters[i].Type == gwapiv1.HTTPRouteFilterRequestRedirect {
			return []verdict.Problem{{
				Field: field + ".type", Reason: string(gwapiv1.RouteReasonIncompatibleFilters), Weight: verdict.Invalid,
				Message: fmt.Sprintf("a rule that redirects (filters[%d]) %s", i, words),
			}}
		}
	}
	return nil
}

// checkPrefixReplacement: a replaced prefix needs a prefix to replace, in every match.
func checkPrefixReplacement(rule *gwapiv1.HTTPRouteRule, f *gwapiv1.HTTPRouteFilter, field string) []verdict.Problem {
	path, name := filterPath(f)
	if path == nil || path.Type != gwapiv1.PrefixMatchHTTPPathModifier {
		return nil
	}
	for m := range rule.Matches {
		p := rule.Matches[m].Path
		if p != nil && deref(p.Type) != gwapiv1.PathMatchPathPrefix && deref(p.Type) != "" {
			return []verdict.Problem{{
				Field: field + "." + name + ".path.type", Reason: string(gwapiv1.RouteReasonIncompatibleFilters), Weight: verdict.Invalid,
				Message: fmt.Sprintf("%s needs matches of type PathPrefix, but match %d is of type %s; use ReplaceFullPath or change the match",
					path.Type, m, deref(p.Type)),
			}}
		}
	}
	return nil
}

func filterPath(f *gwapiv1.HTTPRouteFilter) (path *gwapiv1.HTTPPathModifier, name string) {
	switch {
	case f.URLRewrite != nil:
		return f.URLRewrite.Path, "urlRewrite"
	case f.RequestRedirect != nil:
		return f.RequestRedirect.Path, "requestRedirect"
	}
	return nil, ""
}

func requestHeaders(b *routeBuilder, f *gwapiv1.HTTPRouteFilter) {
	add, remove := modifiers(f.RequestHeaderModifier)
	b.route.RequestHeadersToAdd = append(b.route.RequestHeadersToAdd, add...)
	b.route.RequestHeadersToRemove = append(b.route.RequestHeadersToRemove, remove...)
}

func responseHeaders(b *routeBuilder, f *gwapiv1.HTTPRouteFilter) {
	add, remove := modifiers(f.ResponseHeaderModifier)
	b.route.ResponseHeadersToAdd = append(b.route.ResponseHeadersToAdd, add...)
	b.route.ResponseHeadersToRemove = append(b.route.ResponseHeadersToRemove, remove...)
}

func modifiers(f *gwapiv1.HTTPHeaderFilter) (add []*corev3.HeaderValueOption, remove []string) {
	if f == nil {
		return nil, nil
	}
	option := func(h gwapiv1.HTTPHeader, action corev3.HeaderValueOption_HeaderAppendAction) {
		// Envoy reads % as the start of a command, Gateway API knows no commands.
		value := strings.ReplaceAll(h.Value, "%", "%%")
		add = append(add, &corev3.HeaderValueOption{
			Header:         &corev3.HeaderValue{Key: string(h.Name), Value: value},
			AppendAction:   action,
			KeepEmptyValue: value == "",
		})
	}
	for _, h := range f.Add {
		option(h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	for _, h := range f.Set {
		option(h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	return add, f.Remove
}

func rewrite(b *routeBuilder, f *gwapiv1.HTTPRouteFilter) {
	if f.URLRewrite == nil {
		return
	}
	action := b.action()
	if f.URLRewrite.Hostname != nil {
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: string(*f.URLRewrite.Hostname)}
		action.AppendXForwardedHost = true
	}
	if f.URLRewrite.Path != nil {
		rewritePath(action, b.match, f.URLRewrite.Path)
	}
}

// rewritePath has the requests of a match forwarded with another path, in place of what was said of it before.
func rewritePath(action *routev3.RouteAction, match *gwapiv1.HTTPRouteMatch, path *gwapiv1.HTTPPathModifier) {
	action.PrefixRewrite, action.RegexRewrite = "", nil
	switch path.Type {
	case gwapiv1.FullPathHTTPPathModifier:
		action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
			Pattern:      &matcherv3.RegexMatcher{Regex: "^/.*$"},
			Substitution: escapeSubstitution(cmp.Or(deref(path.ReplaceFullPath), "/")),
		}
	case gwapiv1.PrefixMatchHTTPPathModifier:
		if pattern, substitution := prefixRemoval(match, path); pattern != nil {
			action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: pattern, Substitution: substitution}
			return
		}
		action.PrefixRewrite = prefixReplacement(path)
	}
}

// prefixReplacement is what takes the prefix's place, without a trailing slash, since the matched prefix has none either.
func prefixReplacement(path *gwapiv1.HTTPPathModifier) string {
	return cmp.Or(strings.TrimRight(deref(path.ReplacePrefixMatch), "/"), "/")
}

// prefixRemoval: where a prefix is replaced by the root, or the root by a prefix, the slash in between must be neither doubled
// nor lost, which only a regular expression can say. So it is where escapes may be written in two cases.
func prefixRemoval(match *gwapiv1.HTTPRouteMatch, path *gwapiv1.HTTPPathModifier) (*matcherv3.RegexMatcher, string) {
	prefix := "/"
	if match != nil && match.Path != nil {
		prefix = pathValue(match.Path)
	}
	replacement := prefixReplacement(path)
	pattern, escapes := pathPattern(strings.TrimRight(prefix, "/"))
	switch {
	case prefix == "/" && replacement != "/":
		return &matcherv3.RegexMatcher{Regex: "^/"}, escapeSubstitution(replacement + "/")
	case replacement == "/":
		return &matcherv3.RegexMatcher{Regex: "^" + pattern + `/*`}, "/"
	case escapes:
		return &matcherv3.RegexMatcher{Regex: "^" + pattern}, escapeSubstitution(replacement)
	}
	return nil, ""
}

// escapeSubstitution protects what RE2 would read as a reference to a group.
func escapeSubstitution(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }
