// Package hostname has the rules of Gateway API for the hostnames of listeners and routes. A hostname is exact
// (a.example.com), or a wildcard for one or more labels (*.example.com), or Any. All are in lower case, except for
// those of routes, whose case is ignored.
package hostname

import (
	"cmp"
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Any stands for no hostname: every host matches.
const Any = "*"

// Intersect returns the hosts that a route serves on a listener. These are the route's hostnames that the listener's
// hostname covers; where a wildcard of the route covers the listener's hostname, it is the listener's. A route without
// hostnames serves the listener's (Gateway API, HTTPRoute hostnames). The result is empty if they do not overlap.
func Intersect(listener string, hostnames []gwapiv1.Hostname) []string {
	if len(hostnames) == 0 {
		return []string{listener}
	}
	var hosts []string
	for _, h := range hostnames {
		host := strings.ToLower(string(h))
		switch {
		case Covers(listener, host):
		case Covers(host, listener):
			host = listener
		default:
			continue // It has nothing in common with the listener's.
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// Matching returns the most specific of a route's hostnames that cover a host, Any if none does.
func Matching(host string, hostnames []gwapiv1.Hostname) string {
	best := Any
	for _, h := range hostnames {
		if own := strings.ToLower(string(h)); Covers(own, host) && Compare(own, best) < 0 {
			best = own
		}
	}
	return best
}

// Covers reports whether every host that matches the second hostname also matches the first.
func Covers(pattern, host string) bool {
	if pattern == Any || pattern == host {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasSuffix(host, suffix) && host != Any && len(host) > len(suffix)
}

// Covering lists the hostnames that cover a host, except for Any, the most specific first: the host itself and the
// wildcards above it.
func Covering(host string) []string {
	patterns := []string{host}
	for i, c := range host {
		if c != '.' {
			continue
		}
		if wild := "*" + host[i:]; wild != host {
			patterns = append(patterns, wild)
		}
	}
	return patterns
}

// Compare orders hostnames that cover the same host, the one that has precedence first: exact before wildcard, longer
// before shorter (Gateway API, HTTPRoute hostnames).
func Compare(a, b string) int {
	if wild := strings.HasPrefix(a, "*"); wild != strings.HasPrefix(b, "*") {
		if wild {
			return 1
		}
		return -1
	}
	return cmp.Compare(len(b), len(a))
}

// InName returns a host in the form that it has in the names of virtual hosts and routes.
func InName(host string) string { return strings.ReplaceAll(host, ".", "_") }
