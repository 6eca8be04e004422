package translator

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/issuer"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// An ACME server proves a host by a request for a path that it chooses. cert-manager makes a route for it, which no
// policy and no redirect may stand in the way of. Anybody may write such a route, so no request reaches a backend past
// the policies: Envoy itself answers with the text that the server expects. All other requests for the host are answered
// as they would be without the route (decision 091).

// answer is what a route answers to an ACME server, if cert-manager made the route for an open challenge. It is empty if
// the route is like all others.
func (t *Tables) answer(r *flow.Read, route *routeRow) string {
	http, ok := route.Object.(*gwapiv1.HTTPRoute)
	if !ok {
		return ""
	}
	name := issuer.Challenger(http)
	if name == "" {
		return ""
	}
	challenge, ok := t.in.challenges.Get(r, Key(http.Namespace, name))
	if !ok {
		return ""
	}
	return issuer.Answer(challenge, http)
}

// places are where policies can be attached to a rule of a route on a listener.
func (t *Tables) places(r *flow.Read, route *routeRow, rule int, l *listenerRow) []policies.Target {
	if t.answer(r, route) != "" {
		return nil
	}
	return chain(route, rule, l)
}

// prove makes a route answer an ACME server. No filter of others takes part in it.
func (b *boundRule) prove(route *routev3.Route) {
	route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: 200,
		Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: b.answer}},
	}}
	b.common.exempt(route)
}

// wider are the hosts whose routes answer requests for a host of a listener if it has no routes of its own there, the
// most specific one first.
func wider(host string, l *listenerRow) (hosts []string) {
	for _, pattern := range append(slices.Clone(hostname.Covering(host)[1:]), hostname.Any) {
		if hostname.Compare(pattern, l.hostname()) <= 0 {
			hosts = append(hosts, pattern)
		}
	}
	return hosts
}

// behind are the bindings of the host whose routes answer the other requests for a host that only answers ACME servers.
// Host is empty if there are none.
func (t *Tables) behind(r *flow.Read, config, host string, members []flow.Row[*bindingRow]) (
	others []flow.Row[*bindingRow], at string,
) {
	var hosts []string
	for _, m := range members {
		for _, h := range m.Value.Hosts {
			if h.Host == host && len(h.Routes) > 0 {
				if hosts = h.Wider; len(hosts) == 0 {
					return nil, ""
				}
			}
		}
	}
	for _, at := range hosts {
		if others := t.bindingsByHost.Lookup(r, config+"|"+at); len(others) > 0 {
			return others, at
		}
	}
	return nil, ""
}

// unstoppable leaves the routes that are served although the filters of their listener let nothing pass.
func unstoppable(entries []routeEntry) (kept []routeEntry) {
	for _, entry := range entries {
		if entry.Order.proof {
			kept = append(kept, entry)
		}
	}
	return kept
}
