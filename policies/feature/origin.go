package feature

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"gatehouse/policies/verdict"
)

// originForm matches scheme, host and port of an origin.
var originForm = regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://(\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::([0-9]{1,5}))?$`)

// implied are the ports that browsers omit in an origin.
var implied = map[string]string{"http": ":80", "https": ":443"}

// anyOrigin stands for any origin, or for any label of a host.
const anyOrigin = "*"

// Origin is a web origin of a policy: any, or scheme, host and port.
type Origin struct {
	// scheme is empty for any origin.
	scheme, host string
	// port is empty if browsers omit it, and begins with a colon otherwise.
	port string
}

// ParseOrigin reads an origin. Browsers write scheme and host in lower case (RFC 6454 section 6.2), so a policy may write
// them in any case.
func ParseOrigin(text string) (Origin, error) {
	if text == anyOrigin {
		return Origin{}, nil
	}
	parts := originForm.FindStringSubmatch(strings.ToLower(text))
	if parts == nil {
		return Origin{}, fmt.Errorf("%q is not a web origin: write *, or scheme://host[:port] without a path, where the host may be * or *.domain",
			text)
	}
	o := Origin{scheme: parts[1], host: parts[2]}
	if port := parts[3]; port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return Origin{}, fmt.Errorf("%q has no possible port: write one from 1 to 65535, or none for the scheme's own", text)
		}
		if o.port = ":" + port; o.port == implied[o.scheme] {
			o.port = "" // Browsers omit it.
		}
	}
	return o, nil
}

// Header matches the Origin headers that browsers send for the origin.
func (o Origin) Header() *matcherv3.StringMatcher { return o.after(o.scheme + "://") }

// Authority matches the host and port in these headers.
func (o Origin) Authority() *matcherv3.StringMatcher { return o.after("") }

// after matches the host and port behind a text.
func (o Origin) after(text string) *matcherv3.StringMatcher {
	if o.scheme == "" {
		return Matching(".*")
	}
	domain, wild := strings.CutPrefix(o.host, anyOrigin)
	if !wild {
		return Exactly(text + o.host + o.port)
	}
	return Matching(regexp.QuoteMeta(text) + "[^/]+" + regexp.QuoteMeta(domain+o.port))
}

// CheckOrigins finds what is no origin in a list.
func CheckOrigins[T ~string](field string, origins []T) (problems []verdict.Problem) {
	for i, origin := range origins {
		if _, err := ParseOrigin(string(origin)); err != nil {
			problems = append(problems, Invalid(fmt.Sprintf("%s[%d]", field, i), "%v", err))
		}
	}
	return problems
}

// Origins are matchers of what browsers send for origins (Origin.Header, Origin.Authority). What is no origin is left out.
func Origins[T ~string](origins []T, sent func(Origin) *matcherv3.StringMatcher) (matchers []*matcherv3.StringMatcher) {
	for _, origin := range origins {
		if o, err := ParseOrigin(string(origin)); err == nil {
			matchers = append(matchers, sent(o))
		}
	}
	return matchers
}

// OriginsCost is what the regular expressions cost that origins with wildcards become, in bytes.
func OriginsCost[T ~string](origins []T) (cost int64) {
	for _, m := range Origins(origins, Origin.Header) {
		cost += Expressions(m.GetSafeRegex().GetRegex())
	}
	return cost
}
