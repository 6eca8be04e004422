package translator

import (
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
			hosts = append(hosts, host)
		case covers(host, listener):
			hosts = append(hosts, listener)
		}
	}
	return hosts
}

// covers reports whether every host that matches the second also matches the first. A wildcard covers one or more labels.
func covers(pattern, host string) bool {
	if pattern == anyHost || pattern == host {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasSuffix(host, suffix) && host != anyHost && len(host) > len(suffix)
}

// covering lists the hostnames, other than no hostname, that cover a host: itself and the wildcards above it.
func covering(host string) []string {
	patterns := []string{host}
	for i, c := range host {
		if wild := "*" + host[i:]; c == '.' && wild != host {
			patterns = append(patterns, wild)
		}
	}
	return patterns
}

// moreSpecific reports whether the first of two patterns that both cover a host wins it: exact before wildcard, longer before shorter.
func moreSpecific(a, b string) bool {
	if wa, wb := strings.HasPrefix(a, "*"), strings.HasPrefix(b, "*"); wa != wb {
		return wb
	}
	return len(a) > len(b)
}

// hostInName is a host as it stands in the names of virtual hosts and routes.
func hostInName(host string) string { return strings.ReplaceAll(host, ".", "_") }
