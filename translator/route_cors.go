package translator

import (
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/cors"
	"gatehouse/policies/verdict"
)

// checkCORS finds what is wrong with a CORS filter.
func checkCORS(f *gwapiv1.HTTPRouteFilter, field string) []verdict.Problem {
	if f.Type != gwapiv1.HTTPRouteFilterCORS || f.CORS == nil {
		return nil
	}
	return cors.CheckFilter(field+".cors", f.CORS)
}

func setCORS(b *routeBuilder, f *gwapiv1.HTTPRouteFilter) {
	if f.CORS != nil {
		cors.SetFilter(f.CORS, b.route)
	}
}

// preflighted reports whether a browser asks beforehand for a request of the rule in a way that the match does not let through: by another method, and
// without the headers of the request. It holds for rules that answer 500 too, whose preflights must not be answered by another rule.
func preflighted(bound *boundRule, match *gwapiv1.HTTPRouteMatch) bool {
	if match == nil || !keepsPreflights(match) {
		return false
	}
	for _, f := range bound.rules.Route.Rules[bound.rule].Filters {
		if f.Type == gwapiv1.HTTPRouteFilterCORS {
			return true
		}
	}
	return slices.ContainsFunc(bound.effects, func(e *effectRow) bool { return e != nil && e.Preflighted })
}

// keepsPreflights reports whether a match does not let the preflights of its requests through.
func keepsPreflights(match *gwapiv1.HTTPRouteMatch) bool {
	otherMethod := match.Method != nil && *match.Method != gwapiv1.HTTPMethodOptions
	return otherMethod || slices.ContainsFunc(match.Headers, func(h gwapiv1.HTTPHeaderMatch) bool { return headerName(h) != originHeader })
}

const (
	originHeader = "origin"
	// askedMethod and askedHeaders are what a preflight says of the request to come (Fetch standard, CORS protocol: HTTP requests).
	askedMethod  = "access-control-request-method"
	askedHeaders = "access-control-request-headers"
)

// asPreflight turns the route of a match into that of its preflights: of the requests that ask, from another origin, for the match's
// method and headers. They are told from other requests by headers of their own, so their match is the more specific one.
func asPreflight(route *routev3.Route, order *precedence) *routev3.Route {
	preflight := proto.CloneOf(route)
	asked := &routev3.HeaderMatcher{Name: askedMethod, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	match := []*routev3.HeaderMatcher{headerMatch(methodHeader, exactly(string(gwapiv1.HTTPMethodOptions)))}
	for _, h := range route.GetMatch().GetHeaders() {
		switch name := h.GetName(); {
		case name == methodHeader:
			asked = headerMatch(askedMethod, h.GetStringMatch())
		case name == originHeader:
			match = append(match, h)
		case !ownOfBrowsers(name):
			match = append(match, headerMatch(askedHeaders, listing(name)))
		}
	}
	present := &routev3.HeaderMatcher{Name: originHeader, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	preflight.Match.Headers = append(match, present, asked)
	order.headers = len(match) + 1
	return preflight
}

// listing matches a list of names of headers that has the name.
func listing(name string) *matcherv3.StringMatcher { return matching(listPattern(name)) }

func listPattern(name string) string {
	return `(?i)(?:.*[,\s])?` + regexp.QuoteMeta(name) + `(?:[,\s].*)?`
}

// browserHeaders are the headers that a preflight does not announce: browsers set them, or let pages set them without a preflight (Fetch standard,
// section 2.2.2: forbidden and CORS-safelisted request-headers). So a preflight does not tell their values.
var browserHeaders = []string{
	"accept", "accept-charset", "accept-encoding", "accept-language", "connection", "content-language", "content-length", "content-type", "cookie", "date", "dnt",
	"expect", "host", "keep-alive", "range", "referer", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "via",
}

// ownOfBrowsers reports whether a preflight need not name the header.
func ownOfBrowsers(name string) bool {
	return slices.Contains(browserHeaders, name) || strings.HasPrefix(name, "sec-") || strings.HasPrefix(name, "proxy-")
}
