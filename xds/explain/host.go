package explain

import (
	"cmp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// candidate is a virtual host that has a host among its domains.
type candidate struct {
	host   *routev3.VirtualHost
	domain string
}

// rank orders the domains that have a host, as Envoy does: the host itself, longer wildcards at the beginning before
// shorter ones, then wildcards at the end, then any host.
func rank(domain string) (class, length int) {
	switch {
	case domain == "*":
		return 3, 0
	case strings.HasPrefix(domain, "*"):
		return 1, -len(domain)
	case strings.HasSuffix(domain, "*"):
		return 2, -len(domain)
	}
	return 0, 0
}

// has reports whether a domain has a host. A wildcard stands for at least one character.
func has(domain, host string) bool {
	switch class, _ := rank(domain); class {
	case 3:
		return true
	case 1:
		return len(host) > len(domain)-1 && strings.HasSuffix(host, domain[1:])
	case 2:
		return len(host) > len(domain)-1 && strings.HasPrefix(host, domain[:len(domain)-1])
	}
	return domain == host
}

// hosts are the virtual hosts of a route configuration that have a host. Envoy chooses the first one.
func hosts(config *routev3.RouteConfiguration, authority string) []candidate {
	host := authority
	if config.IgnorePortInHostMatching {
		host = authority[:portStart(authority)]
	}
	host = strings.ToLower(host)
	var found []candidate
	for _, v := range config.VirtualHosts {
		for _, domain := range v.Domains {
			if domain = strings.ToLower(domain); has(domain, host) {
				found = append(found, candidate{v, domain})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int {
		aClass, aLength := rank(a.domain)
		bClass, bLength := rank(b.domain)
		return cmp.Or(cmp.Compare(aClass, bClass), cmp.Compare(aLength, bLength))
	})
	return found
}

// portStart is where the port of a host begins, with its colon, or the length of the host if it has none. The colons of
// IPv6 addresses are in brackets.
func portStart(host string) int {
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || strings.LastIndexByte(host, ']') > colon {
		return len(host)
	}
	return colon
}

// withoutDot removes the dot at the end of a host, before its port.
func withoutDot(authority string) string {
	dot := strings.LastIndexByte(authority, '.')
	switch {
	case dot < 0:
		return authority
	case dot == len(authority)-1:
		return authority[:dot]
	case authority[dot+1] == ':':
		return authority[:dot] + authority[dot+1:]
	}
	return authority
}
