package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
	"gatehouse/policies/regex"
	"gatehouse/policies/verdict"
	"gatehouse/translator/hostname"
)

// unsupported is a problem of a route with what a field says.
func unsupported(field, message string, args ...any) verdict.Problem {
	p := feature.Invalid(field, message, args...)
	p.Reason = string(gwapiv1.RouteReasonUnsupportedValue)
	return p
}

// checkMatch finds what keeps a match from being translated.
func checkMatch(m *gwapiv1.HTTPRouteMatch, field string) []verdict.Problem {
	var problems []verdict.Problem
	if m.Path != nil && deref(m.Path.Type) == gwapiv1.PathMatchRegularExpression {
		problems = appendPathRegex(problems, field+".path.value", paths.Value(m.Path))
	} else if m.Path != nil {
		problems = checkPath(m.Path, field+".path.value")
	}
	for i, h := range m.Headers {
		if deref(h.Type) == gwapiv1.HeaderMatchRegularExpression {
			problems = appendRegex(problems, fmt.Sprintf("%s.headers[%d].value", field, i), h.Value)
		}
	}
	for i, q := range m.QueryParams {
		if deref(q.Type) == gwapiv1.QueryParamMatchRegularExpression {
			problems = appendRegex(problems, fmt.Sprintf("%s.queryParams[%d].value", field, i), q.Value)
		}
	}
	return problems
}

// appendRegex checks a regular expression.
func appendRegex(problems []verdict.Problem, field, value string) []verdict.Problem {
	if err := regex.Check(value); err != nil {
		return append(problems, verdict.Problem{
			Field: field, Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Invalid, Message: err.Error(),
		})
	}
	return problems
}

// appendPathRegex checks a regular expression of paths. One that matches no path does no harm: it stays as it is, with
// a warning.
func appendPathRegex(problems []verdict.Problem, field, expression string) []verdict.Problem {
	if wrong := appendRegex(nil, field, expression); len(wrong) > 0 {
		return append(problems, wrong...)
	}
	if why := paths.Unmatchable(expression); why != "" {
		p := unsupported(field, "%q matches no path, since %s", expression, why)
		p.Weight = verdict.Unresolved
		problems = append(problems, p)
	}
	return problems
}

// checkPath finds a path of type Exact or PathPrefix that no request can have.
func checkPath(path *gwapiv1.HTTPPathMatch, field string) []verdict.Problem {
	if _, why := paths.Impossible(deref(path.Value)); why != "" {
		return []verdict.Problem{unsupported(field, "%q matches no path, since %s", *path.Value, why)}
	}
	return nil
}

// envoyMatch translates a match; a nil one matches everything.
func envoyMatch(m *gwapiv1.HTTPRouteMatch) *routev3.RouteMatch {
	out := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	if m == nil {
		return out
	}
	if m.Path != nil {
		setPath(out, m.Path)
	}
	if m.Method != nil {
		out.Headers = append(out.Headers, feature.HeaderIs(feature.MethodHeader, feature.Exactly(string(*m.Method))))
	}
	for _, h := range firstOf(m.Headers, headerName) {
		value := feature.Exactly(h.Value)
		if deref(h.Type) == gwapiv1.HeaderMatchRegularExpression {
			value = feature.Matching(h.Value)
		}
		out.Headers = append(out.Headers, feature.HeaderIs(headerName(h), value))
	}
	for _, q := range firstOf(m.QueryParams, paramName) {
		value := feature.Exactly(q.Value)
		if deref(q.Type) == gwapiv1.QueryParamMatchRegularExpression {
			value = feature.Matching(q.Value)
		}
		out.QueryParameters = append(out.QueryParameters, &routev3.QueryParameterMatcher{
			Name:                         paramName(q),
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: value},
		})
	}
	return out
}

// envoyMatchAnd translates a match with a condition besides.
func envoyMatchAnd(m *gwapiv1.HTTPRouteMatch, also feature.Condition) *routev3.RouteMatch {
	out := envoyMatch(m)
	out.Cookies = also.Cookies
	return out
}

// firstOf leaves out entries that have the name of an earlier one. They must be ignored, for precedence too (Gateway
// API, name of HTTPHeaderMatch, GRPCHeaderMatch and HTTPQueryParamMatch).
func firstOf[T any](entries []T, name func(T) string) []T {
	seen := make(map[string]bool, len(entries))
	return slices.DeleteFunc(slices.Clone(entries), func(e T) bool {
		known := seen[name(e)]
		seen[name(e)] = true
		return known
	})
}

// headerName is the name as Envoy has it; its case makes no difference.
func headerName(h gwapiv1.HTTPHeaderMatch) string { return strings.ToLower(string(h.Name)) }

// paramName is the name of a query parameter, whose case makes a difference.
func paramName(q gwapiv1.HTTPQueryParamMatch) string { return string(q.Name) }

func setPath(out *routev3.RouteMatch, path *gwapiv1.HTTPPathMatch) {
	value := paths.Value(path)
	kind := cmp.Or(deref(path.Type), gwapiv1.PathMatchPathPrefix)
	pattern, escapes := paths.Pattern(value)
	switch {
	case kind == gwapiv1.PathMatchRegularExpression:
		out.PathSpecifier = pathMatching(value)
	case kind == gwapiv1.PathMatchExact && escapes:
		out.PathSpecifier = pathMatching(pattern)
	case kind == gwapiv1.PathMatchExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: value}
	case escapes:
		out.PathSpecifier = pathMatching(pattern + "(?:/.*)?")
	case value != "/":
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: value}
	}
}

func pathMatching(regex string) *routev3.RouteMatch_SafeRegex {
	return &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: regex}}
}

// precedence orders the routes of a virtual host, the first to be tried first. The order of the fields is Gateway API's
// (HTTPRoute, hostnames; HTTPRouteRule, matches), with regular expressions, which it leaves open, between exact paths
// and prefixes as in Envoy Gateway.
type precedence struct {
	proof        bool   // It answers an ACME server, and comes first.
	hostname     string // The route's hostname that matches the host, hostname.Any if it has none.
	path         int    // 0 exact, 1 regular expression, 2 prefix
	pathLength   int
	method       bool
	headers      int
	cookies      int // Of a condition besides the match, and how many of them have exact values.
	exactCookies int
	queryParams  int
	created      int64 // Seconds since 1970, as exact as the API server has it.
	route        string
	rule, match  int
	condition    int  // Which of the conditions besides the match it has.
	share        int  // Which of the routes of the backends of one match it is.
	session      bool // It takes those requests only that have a session already.
	tunnel       bool // It takes requests of method CONNECT.
}

func precedenceOf(m *gwapiv1.HTTPRouteMatch) precedence {
	p := precedence{path: 2}
	if m == nil {
		return p
	}
	if m.Path != nil {
		switch deref(m.Path.Type) {
		case gwapiv1.PathMatchExact:
			p.path = 0
		case gwapiv1.PathMatchRegularExpression:
			p.path = 1
		}
		if value := paths.Value(m.Path); value != "/" || p.path != 2 {
			p.pathLength = len(value)
		}
	}
	p.method, p.headers, p.queryParams = m.Method != nil, len(firstOf(m.Headers, headerName)),
		len(firstOf(m.QueryParams, paramName))
	return p
}

func comparePrecedence(a, b precedence) int {
	return cmp.Or(
		compareBool(b.proof, a.proof),
		hostname.Compare(a.hostname, b.hostname),
		cmp.Compare(a.path, b.path),
		cmp.Compare(b.pathLength, a.pathLength),
		compareBool(b.method, a.method),
		cmp.Compare(b.headers, a.headers),
		cmp.Compare(b.cookies, a.cookies),
		cmp.Compare(b.exactCookies, a.exactCookies),
		cmp.Compare(b.queryParams, a.queryParams),
		cmp.Compare(a.created, b.created),
		cmp.Compare(a.route, b.route),
		cmp.Compare(a.rule, b.rule),
		cmp.Compare(a.match, b.match),
		cmp.Compare(a.condition, b.condition),
		cmp.Compare(a.share, b.share),
		compareBool(b.session, a.session),
		compareBool(a.tunnel, b.tunnel),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
