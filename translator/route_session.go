package translator

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statefulv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// sessionFilter is the HTTP filter that sends requests of a session to the endpoint that answered the first one.
const sessionFilter = "envoy.filters.http.stateful_session"

// sessions is the filter as every connection manager has it: disabled, so that a rule's session persistence changes its route alone.
func sessions() *hcmv3.HttpFilter {
	return feature.DisabledFilter(sessionFilter, &statefulv3.StatefulSession{})
}

func isHeader(s *gwapiv1.SessionPersistence) bool {
	return deref(s.Type) == gwapiv1.HeaderBasedSessionPersistence
}

// checkSession finds what keeps sessions from lasting as the rule says.
func checkSession(rule *gwapiv1.HTTPRouteRule, field string) []verdict.Problem {
	s := rule.SessionPersistence
	if s == nil {
		return nil
	}
	field += ".sessionPersistence"
	var problems []verdict.Problem
	problem := func(field string, weight verdict.Weight, message string, args ...any) {
		problems = append(problems, verdict.Problem{
			Field: field, Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: weight, Message: fmt.Sprintf(message, args...),
		})
	}
	problems = append(problems, checkSessionName(s, field)...)
	problems = append(problems, checkCookiePath(rule, field+".cookie.path")...)
	length, ok := duration(s.AbsoluteTimeout)
	switch {
	case s.AbsoluteTimeout == nil:
		if s.Cookie != nil && deref(s.Cookie.LifetimeType) == gwapiv1.PermanentCookieLifetimeType {
			problem(field+".absoluteTimeout", verdict.Invalid, "a cookie of lifetimeType Permanent needs one; write when it expires, such as 24h")
		}
	case !ok || length <= 0:
		problem(field+".absoluteTimeout", verdict.Invalid, "%q is no duration above 0s; write one such as 24h or 30m", *s.AbsoluteTimeout)
	case isHeader(s):
		problem(field+".absoluteTimeout", verdict.Unresolved, "Envoy ends no session that is kept in a header, so the rule answers 500; remove the timeout, or use type Cookie")
	}
	for i := range rule.BackendRefs {
		if len(rule.BackendRefs) > 1 && len(rule.BackendRefs[i].Filters) > 0 {
			problem(field, verdict.Invalid, "sessions need all backends in one cluster, where backendRefs[%d] cannot have filters of its own; move them to the rule or remove one of the two", i)
		}
	}
	return problems
}

// givenName is the name that the rule gives to its sessions, "" if it gives none.
func givenName(s *gwapiv1.SessionPersistence) string {
	switch {
	case isHeader(s) && s.Header != nil:
		return string(s.Header.Name)
	case !isHeader(s) && s.Cookie != nil:
		return string(deref(s.Cookie.Name))
	}
	return ""
}

// checkSessionName finds a name that no cookie or header may have; Envoy sets such a header on answers, and removes it from requests.
func checkSessionName(s *gwapiv1.SessionPersistence, field string) []verdict.Problem {
	name := givenName(s)
	switch {
	case name == "":
		return nil // It is made up.
	case isHeader(s):
		return asUnsupported(feature.CheckHeaderChange(field+".header.name", name))
	}
	return asUnsupported(feature.CheckToken(field+".cookie.name", name, "name of a cookie"))
}

// sessionName names the sessions of a rule. A name that the rule does not give is made of where the rule stands.
func (b *boundRule) sessionName() string {
	spec := &b.rules.Route.Rules[b.rule]
	if name := givenName(spec.SessionPersistence); name != "" {
		return name
	}
	rule := cmp.Or(string(deref(spec.Name)), fmt.Sprint(b.rule))
	return strings.ReplaceAll(fmt.Sprintf("%s/rule/%s", b.rules.Route.name(), rule), "/", "-")
}

// withinSession is the route for requests that have a session already, nil if they need none of their own: the shares of backends that cannot answer
// are drawn anew for each request, and would break sessions that are with the others.
func (b *boundRule) withinSession(route *routev3.Route) *routev3.Route {
	session := b.rules.Route.Rules[b.rule].SessionPersistence
	shares := route.GetRoute().GetWeightedClusters().GetClusters()
	if session == nil || len(shares) == 0 {
		return nil
	}
	var live []*routev3.WeightedCluster_ClusterWeight
	for _, share := range shares {
		if !b.deserted(share.Name) {
			live = append(live, share)
		}
	}
	if len(live) == 0 || len(live) == len(shares) {
		return nil
	}
	kept := proto.CloneOf(route)
	kept.GetRoute().ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: live}}
	kept.Match.Headers = append(kept.Match.Headers, hasSession(session, b.sessionName()))
	return kept
}

// deserted reports whether requests to the cluster cannot be answered: it does not exist, or stands beside the rule's own because it has no endpoint.
func (b *boundRule) deserted(cluster string) bool {
	return !slices.ContainsFunc(b.clusters, func(c *clusterUse) bool {
		return c != nil && c.Name == cluster && (c.named() || strings.HasPrefix(c.Name, rulePrefix))
	})
}

// hasSession matches the requests of a session: by the header, or by the cookie among others.
func hasSession(session *gwapiv1.SessionPersistence, name string) *routev3.HeaderMatcher {
	if isHeader(session) {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	}
	return headerMatch("cookie", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
		SafeRegex: &matcherv3.RegexMatcher{Regex: sessionPattern(name)},
	}})
}

// sessionPattern matches a Cookie header with the cookie of that name.
func sessionPattern(name string) string { return "(?:.*; *)?" + regexp.QuoteMeta(name) + "=.*" }

// persistSessions keeps the sessions of a rule.
func persistSessions(b *routeBuilder, s *gwapiv1.SessionPersistence, name string) {
	var state proto.Message = &cookiev3.CookieBasedSessionState{Cookie: &httpv3.Cookie{Name: name, Path: cookiePath(s), Ttl: cookieLife(s)}}
	kind := "cookie"
	if isHeader(s) {
		state, kind = &headerv3.HeaderBasedSessionState{Name: name}, "header"
	}
	feature.PerRoute(b.route, sessionFilter, &statefulv3.StatefulSessionPerRoute{
		Override: &statefulv3.StatefulSessionPerRoute_StatefulSession{StatefulSession: &statefulv3.StatefulSession{
			SessionState: &corev3.TypedExtensionConfig{Name: "envoy.http.stateful_session." + kind, TypedConfig: feature.Any(state)},
		}},
	})
}

// cookieLife is nil for a cookie that ends with the browser's session. With a timeout, of which Envoy knows whole seconds, it writes into the
// cookie when the session ends and takes it no longer then: for lifetimeType Session, Gateway API has the gateway keep track of that. Envoy gives
// the cookie the same age in any case, so that it outlives the browser's session; but a cookie without age would keep the session for ever.
func cookieLife(s *gwapiv1.SessionPersistence) *durationpb.Duration {
	length, ok := duration(s.AbsoluteTimeout)
	if !ok {
		return nil
	}
	return durationpb.New(time.Duration(math.Ceil(length.Seconds())) * time.Second)
}

// cookiePath is the Path of the rule's cookie. Envoy keeps sessions for requests below it only, as browsers send the cookie with those only.
func cookiePath(s *gwapiv1.SessionPersistence) string {
	if s.Cookie == nil {
		return "/"
	}
	return cmp.Or(deref(s.Cookie.Path), "/")
}

// attributePath is a path that a cookie may have: browsers take another one for that of the request (RFC 6265, sections 4.1.1 and 5.2.4).
var attributePath = regexp.MustCompile(`^/[ -:<-~]*$`)

// checkCookiePath finds a path that no cookie may have, or with which no session would ever begin.
func checkCookiePath(rule *gwapiv1.HTTPRouteRule, field string) []verdict.Problem {
	path := cookiePath(rule.SessionPersistence)
	if !attributePath.MatchString(path) {
		return []verdict.Problem{unsupported(field, "%q cannot be the path of a cookie: begin with a slash, and use visible ASCII characters but for the semicolon", path)}
	}
	above := func(m gwapiv1.HTTPRouteMatch) bool { return meetsPath(m.Path, path) }
	if len(rule.Matches) > 0 && !slices.ContainsFunc(rule.Matches, above) {
		return []verdict.Problem{unsupported(field, "no match of the rule has paths below %q, and sessions are kept of such requests only: write /, or a path that the matches begin with", path)}
	}
	return nil
}

// meetsPath reports whether a match may have requests with a path, or below it.
func meetsPath(match *gwapiv1.HTTPPathMatch, path string) bool {
	if match == nil || deref(match.Type) == gwapiv1.PathMatchRegularExpression {
		return true
	}
	value := pathValue(match)
	return below(value, path) || deref(match.Type) != gwapiv1.PathMatchExact && below(path, value)
}

// below reports whether a path is another one, or below it (RFC 6265, section 5.1.4).
func below(path, top string) bool {
	rest, found := strings.CutPrefix(path, top)
	return found && (rest == "" || rest[0] == '/' || strings.HasSuffix(top, "/"))
}
