package feature

import (
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/policies/regex"
	"gatehouse/policies/verdict"
)

// MethodHeader is where HTTP/2, and Envoy for any HTTP, has the method.
const MethodHeader = ":method"

// MethodConnect is the method by which clients ask for tunnels. Upgrade configurations of Envoy have it as a type.
const MethodConnect = "CONNECT"

// Exactly matches a text.
func Exactly(text string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: text}}
}

// Matching matches whole texts with an RE2 expression.
func Matching(expression string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
		SafeRegex: &matcherv3.RegexMatcher{Regex: expression},
	}}
}

// ParsePrefix reads a range of addresses of clients. It ignores bits after the prefix.
func ParsePrefix(cidr string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err == nil && prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 range in the form of IPv6, which no client's address has: write the IPv4 range, such as 10.0.0.0/8", cidr)
	}
	if err == nil {
		return prefix.Masked(), nil
	}
	if addr, err := netip.ParseAddr(cidr); err == nil && addr.Zone() == "" {
		return netip.Prefix{}, fmt.Errorf("%q has no prefix length: write %s for this one address", cidr,
			netip.PrefixFrom(addr, addr.BitLen()))
	}
	return netip.Prefix{}, fmt.Errorf("%q is not a range of addresses: write an IP address, a slash and a prefix length, such as 10.0.0.0/8 or 2001:db8::/32", cidr)
}

// CheckExpression finds a regular expression that cannot be used.
func CheckExpression(field, expression string) []verdict.Problem {
	if err := regex.Check(expression); err != nil {
		return []verdict.Problem{Invalid(field, "%v", err)}
	}
	return nil
}

// Ranges are ranges of addresses as Envoy has them.
func Ranges(prefixes []netip.Prefix) []*corev3.CidrRange {
	out := make([]*corev3.CidrRange, len(prefixes))
	for i, p := range prefixes {
		out[i] = &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}
	}
	return out
}

// HeaderIs matches requests by the value of a header.
func HeaderIs(name string, value *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value}}
}

// HasHeader matches requests that have a header.
func HasHeader(name string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name:                 name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
	}
}
