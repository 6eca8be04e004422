// Package session is the session persistence of rules: requests of a session go to the endpoint that answered the first
// one.
package session

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statefulv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
	"gatehouse/policies/verdict"
)

// filter is the HTTP filter.
const filter = "envoy.filters.http.stateful_session"

// Feature is the session persistence.
var Feature = feature.Feature[gwapiv1.HTTPRouteRule]{
	Name:    "sessionPersistence",
	Check:   check,
	Traits:  traits,
	Route:   route,
	Cost:    cost,
	Filters: []feature.Filter{{Name: filter, Config: &statefulv3.StatefulSession{}}},
}

// traits keeps all backends in one cluster. A session stays with an endpoint, so its backend must not be chosen again
// for each request.
func traits(rule *gwapiv1.HTTPRouteRule) feature.Traits {
	return feature.Traits{Together: rule.SessionPersistence != nil}
}

func route(rule *gwapiv1.HTTPRouteRule, _ feature.Have, route *feature.Route) {
	s := rule.SessionPersistence
	if s == nil {
		return
	}
	name := nameOf(s, route.Owner)
	route.Session = has(s, name)
	var state proto.Message = &cookiev3.CookieBasedSessionState{
		Cookie: &httpv3.Cookie{Name: name, Path: cookiePath(s), Ttl: cookieLife(s)},
	}
	kind := "cookie"
	if isHeader(s) {
		state, kind = &headerv3.HeaderBasedSessionState{Name: name}, "header"
	}
	feature.PerRoute(route.Route, filter, &statefulv3.StatefulSessionPerRoute{
		Override: &statefulv3.StatefulSessionPerRoute_StatefulSession{StatefulSession: &statefulv3.StatefulSession{
			SessionState: &corev3.TypedExtensionConfig{
				Name:        "envoy.http.stateful_session." + kind,
				TypedConfig: feature.Any(state),
			},
		}},
	})
}

// longestName is as long as the name of a session that is made of where its rule stands.
const longestName = 600

func cost(rule *gwapiv1.HTTPRouteRule) feature.Cost {
	s := rule.SessionPersistence
	if s == nil {
		return feature.Cost{}
	}
	texts := cmp.Or(len(givenName(s)), longestName) + len(cookiePath(s))
	name := cmp.Or(givenName(s), strings.Repeat("n", longestName))
	return feature.Cost{
		Route:   feature.PerEntry + feature.PerText*int64(texts),
		Session: feature.PerEntry + feature.Expressions(cookiePattern(name)),
	}
}

// nameOf returns the name of the sessions of a rule. If the rule does not give one, it is made of the rule's name.
func nameOf(s *gwapiv1.SessionPersistence, owner string) string {
	return cmp.Or(givenName(s), strings.ReplaceAll(owner, "/", "-"))
}

func isHeader(s *gwapiv1.SessionPersistence) bool {
	return ptr.Deref(s.Type, "") == gwapiv1.HeaderBasedSessionPersistence
}

func check(rule *gwapiv1.HTTPRouteRule) []verdict.Problem {
	s := rule.SessionPersistence
	if s == nil {
		return nil
	}
	const field = "sessionPersistence"
	problems := slices.Concat(checkName(s, field), checkCookiePath(rule, field+".cookie.path"), checkTimeout(s, field))
	for i := range rule.BackendRefs {
		if len(rule.BackendRefs) > 1 && len(rule.BackendRefs[i].Filters) > 0 {
			problems = append(problems, feature.Invalid(field,
				"sessions need all backends in one cluster, where backendRefs[%d] cannot "+
					"have filters of its own: move them to the rule or remove one of the two", i))
		}
	}
	return problems
}

func checkTimeout(s *gwapiv1.SessionPersistence, field string) []verdict.Problem {
	field += ".absoluteTimeout"
	switch length := feature.Duration(s.AbsoluteTimeout); {
	case s.AbsoluteTimeout == nil:
		if s.Cookie != nil && ptr.Deref(s.Cookie.LifetimeType, "") == gwapiv1.PermanentCookieLifetimeType {
			return []verdict.Problem{feature.Invalid(field,
				"a cookie of lifetimeType Permanent needs one: write when it expires, such as 24h")}
		}
	case length.AsDuration() <= 0:
		return []verdict.Problem{feature.Invalid(field, "%q is not a duration above 0s: write one such as 24h or 30m",
			*s.AbsoluteTimeout)}
	case isHeader(s):
		p := feature.Invalid(field, "Envoy ends no session that is kept in a header, so the rule answers 500: "+
			"remove the timeout, or use type Cookie")
		p.Weight = verdict.Unresolved
		return []verdict.Problem{p}
	}
	return nil
}

// givenName is the name that the rule gives to its sessions, "" if it gives none.
func givenName(s *gwapiv1.SessionPersistence) string {
	switch {
	case isHeader(s) && s.Header != nil:
		return string(s.Header.Name)
	case !isHeader(s) && s.Cookie != nil:
		return string(ptr.Deref(s.Cookie.Name, ""))
	}
	return ""
}

// checkName finds a name that no cookie or header may have; Envoy sets such a header on answers, and removes it from
// requests.
func checkName(s *gwapiv1.SessionPersistence, field string) []verdict.Problem {
	name := givenName(s)
	switch {
	case name == "":
		return nil // It is made up.
	case isHeader(s):
		return feature.CheckHeaderChange(field+".header.name", name)
	}
	return feature.CheckToken(field+".cookie.name", name, "name of a cookie")
}

// has matches the requests of a session by its name: by the header, or by the cookie among others.
func has(s *gwapiv1.SessionPersistence, name string) *routev3.HeaderMatcher {
	if isHeader(s) {
		return feature.HasHeader(name)
	}
	return feature.HeaderIs("cookie", feature.Matching(cookiePattern(name)))
}

// cookiePattern matches a Cookie header with the cookie of that name.
func cookiePattern(name string) string { return "(?:.*; *)?" + regexp.QuoteMeta(name) + "=.*" }

// cookieLife is nil for a cookie that ends with the browser's session. With a timeout, of which Envoy knows whole
// seconds, it writes into the cookie when the session ends and takes it no longer then: for lifetimeType Session,
// Gateway API has the gateway keep track of that. Envoy gives the cookie the same age in any case, so that it outlives
// the browser's session; but a cookie without age would keep the session for ever.
func cookieLife(s *gwapiv1.SessionPersistence) *durationpb.Duration {
	length := feature.Duration(s.AbsoluteTimeout)
	if length == nil {
		return nil
	}
	return durationpb.New(time.Duration(math.Ceil(length.AsDuration().Seconds())) * time.Second)
}

// cookiePath is the Path of the rule's cookie. Envoy keeps sessions for requests below it only, as browsers send the
// cookie with those only.
func cookiePath(s *gwapiv1.SessionPersistence) string {
	if s.Cookie == nil {
		return "/"
	}
	return cmp.Or(ptr.Deref(s.Cookie.Path, ""), "/")
}

// attributePath is a path that a cookie may have: browsers take another one for that of the request (RFC 6265, sections
// 4.1.1 and 5.2.4).
var attributePath = regexp.MustCompile(`^/[ -:<-~]*$`)

// checkCookiePath finds a path that no cookie may have, or with which no session would ever begin.
func checkCookiePath(rule *gwapiv1.HTTPRouteRule, field string) []verdict.Problem {
	path := cookiePath(rule.SessionPersistence)
	if !attributePath.MatchString(path) {
		return []verdict.Problem{feature.Invalid(field,
			"%q cannot be the path of a cookie: begin with a slash, and use visible ASCII characters but for the semicolon",
			path)}
	}
	above := func(m gwapiv1.HTTPRouteMatch) bool { return meetsPath(m.Path, path) }
	if len(rule.Matches) > 0 && !slices.ContainsFunc(rule.Matches, above) {
		return []verdict.Problem{feature.Invalid(field,
			"no match of the rule has paths below %q, and sessions are kept of such requests only: write /, or a path that the matches begin with", path)}
	}
	return nil
}

// meetsPath reports whether a match may have requests with a path, or below it.
func meetsPath(match *gwapiv1.HTTPPathMatch, path string) bool {
	if match == nil || ptr.Deref(match.Type, "") == gwapiv1.PathMatchRegularExpression {
		return true
	}
	value := paths.Value(match)
	return below(value, path) || ptr.Deref(match.Type, "") != gwapiv1.PathMatchExact && below(path, value)
}

// below reports whether a path is another one, or below it (RFC 6265, section 5.1.4).
func below(path, top string) bool {
	rest, found := strings.CutPrefix(path, top)
	return found && (rest == "" || rest[0] == '/' || strings.HasSuffix(top, "/"))
}
