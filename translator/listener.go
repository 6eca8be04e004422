package translator

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// listenerRow is one listener of a Gateway.
type listenerRow struct {
	// Key is namespace/gateway/listener, which is also the name of its route configuration when it does not share one.
	Key     string
	Gateway *gatewayRow
	Spec    *gwapiv1.Listener
	Index   int
	// Kinds are the route kinds that may attach.
	Kinds []gwapiv1.RouteGroupKind
	// Secrets are the keys of the certificates that the listener serves, in the order of certificateRefs.
	Secrets []string
	// Certified tells that one of the certificates is whole.
	Certified bool
	// Clients is how certificates of clients are judged, nil if none are asked for.
	Clients  *clientValidation
	Problems []verdict.Problem
	// Serves tells that the listener is part of what Envoy gets.
	Serves bool
}

func (l *listenerRow) equal(o *listenerRow) bool {
	return l.Gateway.equal(o.Gateway) && l.Spec == o.Spec && l.Serves == o.Serves && l.Clients.equal(o.Clients) &&
		slices.Equal(l.Secrets, o.Secrets) && equalProblems(l.Problems, o.Problems)
}

// hostname is the listener's hostname in lower case, "*" if it has none.
func (l *listenerRow) hostname() string {
	if l.Spec.Hostname == nil || *l.Spec.Hostname == "" {
		return anyHost
	}
	return strings.ToLower(string(*l.Spec.Hostname))
}

func (l *listenerRow) fleet() string { return keyOf(l.Gateway.Gateway) }

// bindPort is the port that Envoy binds: a port that only root may bind is moved up by 10000, as Envoy Gateway does.
func (l *listenerRow) bindPort() int32 {
	ep := l.Gateway.EnvoyProxy
	if ep != nil && ep.Spec.Provider != nil && ep.Spec.Provider.Kubernetes != nil {
		if same := ep.Spec.Provider.Kubernetes.UseListenerPortAsContainerPort; same != nil && *same {
			return l.Spec.Port
		}
	}
	if l.Spec.Port < 1024 {
		return l.Spec.Port + 10000
	}
	return l.Spec.Port
}

// protocol is what the translation must know about a listener protocol that it serves.
type protocol struct {
	// kinds are the route kinds that may attach.
	kinds []gwapiv1.Kind
	// tls tells that the listener terminates TLS.
	tls bool
	// sni tells that the listener shares its port with others by the server name of the TLS handshake, and so has filter chains of its
	// own, and a route configuration of its own if it has any.
	sni bool
	// layer4 tells that connections or datagrams are forwarded without looking into them.
	layer4 bool
	// transport is that of the port: the ports of TCP and UDP are apart.
	transport corev1.Protocol
	// statPrefix begins the name under which Envoy counts.
	statPrefix string
}

// protocols are the served ones.
var protocols = map[gwapiv1.ProtocolType]protocol{
	gwapiv1.HTTPProtocolType:  {kinds: []gwapiv1.Kind{"HTTPRoute", "GRPCRoute"}, transport: corev1.ProtocolTCP, statPrefix: "http"},
	gwapiv1.HTTPSProtocolType: {kinds: []gwapiv1.Kind{"HTTPRoute", "GRPCRoute"}, tls: true, sni: true, transport: corev1.ProtocolTCP, statPrefix: "https"},
	gwapiv1.TLSProtocolType:   {kinds: []gwapiv1.Kind{"TLSRoute", "TCPRoute"}, tls: true, sni: true, layer4: true, transport: corev1.ProtocolTCP, statPrefix: "tls-terminate"},
	gwapiv1.TCPProtocolType:   {kinds: []gwapiv1.Kind{"TCPRoute"}, layer4: true, transport: corev1.ProtocolTCP, statPrefix: "tcp"},
	gwapiv1.UDPProtocolType:   {kinds: []gwapiv1.Kind{"UDPRoute"}, layer4: true, transport: corev1.ProtocolUDP, statPrefix: "udp"},
}

// passthrough is protocol TLS where the listener does not terminate it.
var passthrough = protocol{kinds: []gwapiv1.Kind{"TLSRoute"}, sni: true, layer4: true, transport: corev1.ProtocolTCP, statPrefix: "tls-passthrough"}

// passed tells that the listener passes on what is encrypted.
func (p protocol) passed() bool { return p.sni && !p.tls }

// protocol is the listener's; of one that is not served nothing is true.
func (l *listenerRow) protocol() protocol {
	if l.Spec.Protocol == gwapiv1.TLSProtocolType && l.Spec.TLS != nil && deref(l.Spec.TLS.Mode) == gwapiv1.TLSModePassthrough {
		return passthrough
	}
	return protocols[l.Spec.Protocol]
}

func (t *Tables) listener(r *flow.Read, key string, g *gatewayRow) []flow.Row[*listenerRow] {
	rows := make([]flow.Row[*listenerRow], 0, len(g.Gateway.Spec.Listeners))
	for i := range g.Gateway.Spec.Listeners {
		spec := &g.Gateway.Spec.Listeners[i]
		l := &listenerRow{Key: key + "/" + string(spec.Name), Gateway: g, Spec: spec, Index: i}
		for _, p := range g.ListenerProblems {
			if p.Scope == string(spec.Name) {
				l.Problems = append(l.Problems, p)
			}
		}
		l.checkProtocol()
		l.chooseKinds()
		if l.protocol().tls {
			t.certificates(r, l)
		}
		if p := l.protocol(); p.tls && !p.layer4 {
			t.validateClients(r, l)
		}
		l.Serves = l.serves()
		rows = append(rows, flow.Row[*listenerRow]{Key: l.Key, Value: l})
	}
	t.withhold(r, key, rows)
	return rows
}

func (l *listenerRow) field(path string) string {
	return fmt.Sprintf("spec.listeners[%d].%s", l.Index, path)
}

func (l *listenerRow) problem(p verdict.Problem) {
	p.Scope = string(l.Spec.Name)
	l.Problems = append(l.Problems, p)
}

// serves: a listener with an invalid spec, a conflict, no certificate or nothing to judge its clients by is no part of Envoy's configuration. One whose
// certificates are there but broken still is, so that running proxies keep the certificate they have (see certificates).
func (l *listenerRow) serves() bool {
	for _, p := range l.Problems {
		switch p.Condition {
		case "", string(gwapiv1.ListenerConditionAccepted), string(gwapiv1.ListenerConditionConflicted):
			return false
		}
	}
	return !l.protocol().tls || len(l.Secrets) > 0 && l.trusts()
}

func (l *listenerRow) checkProtocol() {
	if _, served := protocols[l.Spec.Protocol]; !served {
		l.problem(verdict.Problem{
			Field: l.field("protocol"), Reason: string(gwapiv1.ListenerReasonUnsupportedProtocol), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("protocol %q is not served; use HTTP, HTTPS, TLS, TCP or UDP", l.Spec.Protocol),
		})
	}
}

// chooseKinds intersects the kinds that the protocol serves with allowedRoutes.kinds.
func (l *listenerRow) chooseKinds() {
	group := gwapiv1.Group(gwapiv1.GroupName)
	served := l.protocol().kinds
	if l.Spec.AllowedRoutes == nil || len(l.Spec.AllowedRoutes.Kinds) == 0 {
		for _, k := range served {
			l.Kinds = append(l.Kinds, gwapiv1.RouteGroupKind{Group: &group, Kind: k})
		}
		return
	}
	for i, k := range l.Spec.AllowedRoutes.Kinds {
		if (k.Group == nil || *k.Group == group) && slices.Contains(served, k.Kind) {
			l.Kinds = append(l.Kinds, gwapiv1.RouteGroupKind{Group: &group, Kind: k.Kind})
			continue
		}
		l.problem(verdict.Problem{
			Field: l.field(fmt.Sprintf("allowedRoutes.kinds[%d]", i)), Reason: string(gwapiv1.ListenerReasonInvalidRouteKinds),
			Condition: string(gwapiv1.ListenerConditionResolvedRefs), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%s cannot attach to a listener of protocol %s; allowed here: %s", k.Kind, l.Spec.Protocol, joinKinds(served)),
		})
	}
}

func joinKinds(kinds []gwapiv1.Kind) string {
	if len(kinds) == 0 {
		return "none"
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// allows reports whether a route's kind may attach to the listener.
func (l *listenerRow) allowsKind(kind gwapiv1.Kind) bool {
	return slices.ContainsFunc(l.Kinds, func(k gwapiv1.RouteGroupKind) bool { return k.Kind == kind })
}
