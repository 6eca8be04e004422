package translator

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
	"gatehouse/translator/status"
)

// A client may send requests for several hosts over one connection, as browsers do with HTTP/2 where a certificate
// covers them. The server name of the handshake has chosen the listener, so a request for a host of another listener
// would bypass that one's routes and its requirements for clients. It is answered with 421, and the client then sends
// it over another connection (RFC 9110, section 15.5.20). Gateways with scoped routes cannot distinguish such requests,
// and answer 404; see decision 040.

// A rival is another listener on the same port that claims hosts of this one. The hosts of a listener that is not
// served go to nobody else, because it may require more of its clients
// (docs/decisions/014-hosts-of-broken-listeners.md).

// onPort reports whether the listener has its hostname on its port, even if it is not served. A listener that conflicts
// with the protocol of the port does not have it. A listener with the hostname of another one has it like that one.
func (l *listenerRow) onPort() bool {
	conflicts := status.About(l.Problems, string(gwapiv1.ListenerConditionConflicted), string(l.Spec.Name))
	return l.claims() && !slices.ContainsFunc(conflicts,
		func(p verdict.Problem) bool { return p.Reason != string(gwapiv1.ListenerReasonHostnameConflict) })
}

// rivalKey finds the rivals of a listener that have the hostname.
func (l *listenerRow) rivalKey(hostname string) string {
	if l.protocol().sni {
		return sniKey(l) + "|" + hostname
	}
	return l.portKey() + "|" + hostname
}

// coveredKey finds the rivals of a listener with TLS whose hostname is covered by the given one.
func (l *listenerRow) coveredKey(hostname string) string { return sniKey(l) + "|below|" + hostname }

// sniKey finds all listeners that share a port and begin with a TLS handshake.
func sniKey(l *listenerRow) string { return "sni|" + l.portKey() }

// rivalKeys are the keys under which other listeners find this one as their rival.
func rivalKeys(_ string, l *listenerRow) []string {
	if !l.onPort() {
		return nil
	}
	keys := []string{l.rivalKey(l.hostname())}
	if l.protocol().sni {
		keys = append(keys, sniKey(l))
		for _, pattern := range append(hostname.Covering(l.hostname()), hostname.Any) {
			keys = append(keys, l.coveredKey(pattern))
		}
	}
	return keys
}

// maxForeign is how many listeners of a port with TLS know all hosts of each other. If there are more, each would have
// to know thousands, and any change would affect all. Then a listener knows only the hosts that overlap with its own
// hostname, and answers 404 for the rest, as for hosts that nobody has.
const maxForeign = 64

// sharedBySNI finds the port of a listener that counts.
func sharedBySNI(_ string, l *listenerRow) []string {
	if !l.protocol().sni || !l.onPort() {
		return nil
	}
	return []string{sniKey(l)}
}

// crowded reports whether too many listeners share a port for each to know all of them.
func crowded(_ *flow.Read, _ string, members []flow.Row[*listenerRow]) (bool, bool) {
	return len(members) > maxForeign, true
}

// rivals are the other listeners whose hosts a listener with TLS knows, and perhaps itself.
func (t *Tables) rivals(r *flow.Read, l *listenerRow) []flow.Row[*listenerRow] {
	if many, _ := t.crowdedPorts.Get(r, sniKey(l)); many {
		return t.overlapped(r, l)
	}
	return t.rivalsByHost.Lookup(r, sniKey(l))
}

// overlapped are the listeners with TLS whose hostnames a listener's covers, or is covered by; itself is one of them.
func (t *Tables) overlapped(r *flow.Read, l *listenerRow) []flow.Row[*listenerRow] {
	found := slices.Clone(t.rivalsByHost.Lookup(r, l.coveredKey(l.hostname())))
	for _, pattern := range append(hostname.Covering(l.hostname()), hostname.Any) {
		found = append(found, t.rivalsByHost.Lookup(r, l.rivalKey(pattern))...)
	}
	return found
}

// misdirected are the virtual hosts that answer 421 on a listener with TLS, encoded: one for all hosts of its rivals.
// If one of those covers the listener's own hostname, a virtual host without routes still answers 404 for what no route
// of the listener serves.
func (t *Tables) misdirected(
	r *flow.Read, l *listenerRow, hosts []flow.Row[*virtualHostRow], common *commonRow,
) [][]byte {
	if l.Spec.Protocol != gwapiv1.HTTPSProtocolType {
		return nil
	}
	own := l.hostname()
	foreign := foreignHosts(own, t.rivals(r, l))
	if len(foreign) == 0 {
		return nil
	}
	route := &routev3.Route{
		Name:   "misdirected",
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 421}},
	}
	common.exempt(route)
	bodies := [][]byte{encode(&routev3.VirtualHost{
		Name: l.Key + "/:misdirected", Domains: foreign, // No hostname has a colon.
		Routes: []*routev3.Route{route},
	})}
	covered := slices.ContainsFunc(foreign, func(host string) bool { return hostname.Covers(host, own) })
	if covered && !slices.ContainsFunc(hosts, func(h flow.Row[*virtualHostRow]) bool { return h.Value.Host == own }) {
		bodies = append(bodies, virtualHostHead(l.Key, own))
	}
	return bodies
}

// foreignHosts are the hostnames of the other listeners of a port. A hostname that a wider one covers is left out, so
// that the list stays short if there are many listeners and one for all other hosts.
func foreignHosts(own string, listeners []flow.Row[*listenerRow]) []string {
	var all []string
	for _, l := range listeners {
		if host := l.Value.hostname(); host != own {
			all = append(all, host)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	known := make(map[string]bool, len(all))
	for _, host := range all {
		known[host] = true
	}
	return slices.DeleteFunc(all, func(host string) bool {
		return !hostname.Covers(own, host) && slices.ContainsFunc(append(hostname.Covering(host)[1:], hostname.Any),
			func(wider string) bool { return wider != host && known[wider] })
	})
}
