package translator

import (
	"cmp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
	"gatehouse/translator/hostname"
)

// A match with a regular expression that cannot be read, or with a path that no request can have, still says something:
// the beginning of the path, or the name of a header. Everything that it may mean is answered with 500, so that no
// request for the match gets the answer of another rule. See decision 009.

// looseRoute makes a route fail everything that its match may mean if a part of it cannot be read. If all is set, none
// of its regular expressions can be read. The route is moved behind all other routes if nothing is known of the path.
func looseRoute(bound *boundRule, built *feature.Route, order *precedence, all bool) {
	route, match := built.Route, built.Match
	fail(route, bound.rules.Route)
	bound.common.exempt(route)
	unreadable := func(m *matcherv3.RegexMatcher) bool {
		return m != nil && (all || slices.Contains(bound.rules.Rules[bound.rule].Unreadable, m.Regex))
	}
	for _, h := range route.Match.Headers {
		if unreadable(h.GetStringMatch().GetSafeRegex()) {
			h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		}
	}
	for _, q := range route.Match.QueryParameters {
		if unreadable(q.GetStringMatch().GetSafeRegex()) {
			q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		}
	}
	prefix := ""
	if path := route.Match.GetSafeRegex(); unreadable(path) {
		prefix = literalPrefix(path.GetRegex())
	} else if match != nil && match.Path != nil && deref(match.Path.Type) != gwapiv1.PathMatchRegularExpression {
		if prefix = possiblePrefix(deref(match.Path.Value)); prefix != "" {
			order.path, order.pathLength = precedenceOf(nil).path, len(prefix)
		}
	}
	if prefix == "/" {
		order.hostname, order.path, order.pathLength = hostname.Any, precedenceOf(nil).path, 0
	}
	if prefix != "" {
		route.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: prefix}
	}
}

// possiblePrefix is the possible beginning of a path that no request can have, at least a slash. It is empty for any
// other path.
func possiblePrefix(path string) string {
	at, why := paths.Impossible(path)
	if why == "" {
		return ""
	}
	return cmp.Or(paths.Normal(path[:at]), "/")
}

// literalPrefix is the beginning of all paths that an expression may match, even if it is malformed; at least a slash.
func literalPrefix(expression string) string {
	literal := strings.TrimPrefix(expression, "^")
	if strings.Contains(literal, "|") {
		return "/" // Nobody knows how far the alternatives reach.
	}
	if end := strings.IndexAny(literal, `\.+*?()[]{}^$`); end >= 0 {
		optional := strings.ContainsRune("*?{", rune(literal[end]))
		literal = literal[:end]
		if optional {
			runes := []rune(literal)
			literal = string(runes[:max(len(runes)-1, 0)])
		}
	}
	if !strings.HasPrefix(literal, "/") {
		return "/"
	}
	return literal
}
