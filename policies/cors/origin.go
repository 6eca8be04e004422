package cors

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"gatehouse/policies/feature"
)

// originForm matches scheme, host and port of an origin.
var originForm = regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://(\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::([0-9]{1,5}))?$`)

// implied are the ports that browsers omit in an origin.
var implied = map[string]string{"http": ":80", "https": ":443"}

// matcher matches the Origin headers that browsers send for an origin. Browsers write scheme and host in lower case
// (RFC 6454 section 6.2), so a policy may write them in any case.
func matcher(origin string) (*matcherv3.StringMatcher, error) {
	if origin == wildcard {
		return feature.Matching(".*"), nil
	}
	parts := originForm.FindStringSubmatch(strings.ToLower(origin))
	if parts == nil {
		return nil, fmt.Errorf("%q is not a web origin: write *, or scheme://host[:port] without a path, where the host may be * or *.domain", origin)
	}
	scheme, host, port := parts[1], parts[2], parts[3]
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%q has no possible port: write one from 1 to 65535, or none for the scheme's own", origin)
		}
		if port = ":" + port; port == implied[scheme] {
			port = "" // Browsers omit it.
		}
	}
	domain, wild := strings.CutPrefix(host, wildcard)
	if !wild {
		return feature.Exactly(scheme + "://" + host + port), nil
	}
	return feature.Matching(regexp.QuoteMeta(scheme+"://") + "[^/]+" + regexp.QuoteMeta(domain+port)), nil
}

// originsCost is what the regular expressions cost that origins with wildcards become, in bytes.
func originsCost[T ~string](origins []T) (cost int64) {
	for _, origin := range origins {
		if m, err := matcher(string(origin)); err == nil && m.GetSafeRegex() != nil {
			cost += feature.Expressions(m.GetSafeRegex().Regex)
		}
	}
	return cost
}
