package translator

import (
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// preflighted reports whether a browser sends preflights for requests of the rule. It holds for rules that answer 500
// too, whose preflights must not be answered by another rule.
func (b *boundRule) preflighted() bool {
	return b.rules.Rules[b.rule].Traits.Preflights ||
		slices.ContainsFunc(b.effects, func(e *effectRow) bool { return e != nil && e.Traits.Preflights })
}

// keepsPreflights reports whether a match excludes the preflights of its requests: they have another method and not the
// headers of the request.
func keepsPreflights(match *gwapiv1.HTTPRouteMatch) bool {
	otherMethod := match.Method != nil && *match.Method != gwapiv1.HTTPMethodOptions
	return otherMethod || slices.ContainsFunc(match.Headers,
		func(h gwapiv1.HTTPHeaderMatch) bool { return headerName(h) != originHeader })
}

const (
	originHeader = "origin"
	// askedMethod and askedHeaders are what a preflight says of the request to come (Fetch standard, CORS protocol:
	// HTTP requests).
	askedMethod  = "access-control-request-method"
	askedHeaders = "access-control-request-headers"
)

// asPreflight turns the route of a match into the route of its preflights: requests that ask, from another origin, for
// the match's method and headers. They have headers that other requests do not have, so their match is more specific.
func asPreflight(route *routev3.Route, order *precedence) *routev3.Route {
	preflight := proto.CloneOf(route)
	asked := feature.HasHeader(askedMethod)
	match := []*routev3.HeaderMatcher{feature.HeaderIs(feature.MethodHeader,
		feature.Exactly(string(gwapiv1.HTTPMethodOptions)))}
	for _, h := range route.GetMatch().GetHeaders() {
		switch name := h.GetName(); {
		case name == feature.MethodHeader:
			asked = feature.HeaderIs(askedMethod, h.GetStringMatch())
		case name == originHeader:
			match = append(match, h)
		case !ownOfBrowsers(name):
			match = append(match, feature.HeaderIs(askedHeaders, listing(name)))
		}
	}
	preflight.Match.Cookies = nil // Preflights have no cookies.
	present := feature.HasHeader(originHeader)
	preflight.Match.Headers = append(match, present, asked)
	order.headers = len(match) + 1
	return preflight
}

// listing matches a list of names of headers that has the name.
func listing(name string) *matcherv3.StringMatcher { return feature.Matching(listPattern(name)) }

func listPattern(name string) string {
	return `(?i)(?:.*[,\s])?` + regexp.QuoteMeta(name) + `(?:[,\s].*)?`
}

// browserHeaders are the headers that a preflight does not announce: browsers set them, or let pages set them without a
// preflight (Fetch standard, section 2.2.2: forbidden and CORS-safelisted request-headers). So a preflight does not
// tell their values.
var browserHeaders = []string{
	"accept", "accept-charset", "accept-encoding", "accept-language", "connection", "content-language", "content-length",
	"content-type", "cookie", "date", "dnt",
	"expect", "host", "keep-alive", "range", "referer", "te", "trailer", "transfer-encoding", "upgrade", "user-agent",
	"via",
}

// ownOfBrowsers reports whether a preflight need not name the header.
func ownOfBrowsers(name string) bool {
	return slices.Contains(browserHeaders, name) || strings.HasPrefix(name, "sec-") || strings.HasPrefix(name, "proxy-")
}
