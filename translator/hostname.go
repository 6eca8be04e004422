package translator

import (
	"cmp"
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// anyHost stands for no hostname: every host matches.
const anyHost = "*"

// intersect answers with the hosts that a route serves on a listener: those of the route's hostnames that the listener's
// covers, and the listener's where a route's wildcard covers it. Without hostnames of its own a route serves the listener's
// (Gateway API, HTTPRoute hostnames). Empty means no overlap.
func intersect(listener string, hostnames []gwapiv1.Hostname) []string {
	if len(hostnames) == 0 {
		return []string{listener}
	}
	var hosts []string
	for _, h := range hostnames {
		host := strings.ToLower(string(h))
		switch {
		case covers(listener, host):
		case covers(host, listener):
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

// matchingHostname is the most specific of a route's hostnames that cover a host, anyHost if there is none.
func matchingHostname(host string, hostnames []gwapiv1.Hostname) string {
	for _, pattern := range covering(host) {
		if slices.ContainsFunc(hostnames, func(h gwapiv1.Hostname) bool { return strings.EqualFold(string(h), pattern) }) {
			return pattern
		}
	}
	return anyHost
}

// covers reports whether every host that matches the second also matches the first. A wildcard covers one or more labels.
func covers(pattern, host string) bool {
	if pattern == anyHost || pattern == host {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasSuffix(host, suffix) && host != anyHost && len(host) > len(suffix)
}

// covering lists the hostnames, other than no hostname, that cover a host, the most specific first: itself and the wildcards above it.
func covering(host string) []string {
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

// compareHostnames orders patterns that cover the same host, the one that wins it first: exact before wildcard, longer before shorter (Gateway
// API, HTTPRoute hostnames).
func compareHostnames(a, b string) int {
	return cmp.Or(compareBool(strings.HasPrefix(a, "*"), strings.HasPrefix(b, "*")), cmp.Compare(len(b), len(a)))
}

// hostInName is a host as it stands in the names of virtual hosts and routes.
func hostInName(host string) string { return strings.ReplaceAll(host, ".", "_") }
