package translator

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// declareListeners: the listeners of all fleets, of Gateways and of ListenerSets.
func (t *Tables) declareListeners() {
	t.entries = flow.Concat("listener entries", (*entryRow).equal,
		flow.Expand(t.gateways, "entries of Gateways", (*entryRow).equal, t.gatewayEntries),
		flow.Expand(t.listenerSets, "entries of ListenerSets", (*entryRow).equal, t.setEntries))
	t.holdersOfPorts = flow.Group(flow.NewIndex(t.entries, "entries by port", claimedPorts),
		"holders of ports", slices.Equal[[]holderRow], t.portHolders)
	t.holdersOfHosts = flow.Group(flow.NewIndex(t.entries, "entries by host", claimedHosts),
		"holders of hosts", flow.Same[holderRow], t.hostHolder)
	judged := flow.Derive(t.entries, "judged listeners", (*listenerRow).equal, t.listener)
	judgedByPort := flow.NewIndex(judged, "judged listeners by port", servedPort)
	t.firstOfPorts = flow.Group(judgedByPort, "first listeners of ports", (*listenerRow).equal,
		func(_ *flow.Read, _ string, members []flow.Row[*listenerRow]) (*listenerRow, bool) {
			return first(members), true
		})
	t.listenerPolicies = flow.Derive(judged, "policies of listeners", (*listenerPolicyRow).equal, t.listenerPolicy)
	t.portsSettings = flow.Group(judgedByPort, "settings of ports", (*portSettingsRow).equal, t.portSettings)
	t.listenersSettings = flow.Derive(judged, "settings of listeners", (*listenerSettingsRow).equal, t.listenerSettings)
	t.listenersTraits = flow.Derive(t.listenersSettings, "traits of listeners", flow.Same[listenerTraits], traitsOf)
	t.conflictsByTarget = flow.NewIndex(t.listenersSettings, "conflicts by target", conflictTargets)
	t.unusedByTarget = flow.NewIndex(t.listenersSettings, "listeners with unused fields by target", unusedTargets)
	t.listeners = flow.Derive(judged, "listeners", (*listenerRow).equal, t.withhold)
	t.verifying = flow.Derive(t.listeners, "listeners whose policy asks for certificates", verifyingRow.equal, t.verifies)
	t.quic = flow.Derive(t.listeners, "listeners with HTTP/3", quicRow.equal, t.overQUIC)
	t.listenersByConfig = flow.NewIndex(t.listeners, "listeners by route configuration", sharedConfig)
	t.listenersByPort = flow.NewIndex(t.listeners, "served listeners by port", servedPort)
	t.rivalsByHost = flow.NewIndex(t.listeners, "rivals by host", rivalKeys)
	t.crowdedPorts = flow.Group(flow.NewIndex(t.listeners, "listeners by port with TLS", sharedBySNI),
		"crowded ports", flow.Same[bool], crowded)
	t.sharedNames = flow.Group(flow.NewIndex(t.listeners, "listeners by name of certificate", certificateNames),
		"names of certificates", equalSharedNames, shareName)
	t.ports = flow.Group(t.listenersByPort, "ports", portRow.equal, t.port)
	t.portsByFleet = flow.NewIndex(t.ports, "ports by fleet", func(_ string, p portRow) []string {
		return []string{p.Fleet}
	})
}

// listenerRow is one listener of a fleet, of a Gateway or of a ListenerSet.
type listenerRow struct {
	*entryRow
	// Kinds are the route kinds that may attach.
	Kinds []gwapiv1.RouteGroupKind
	// Secrets are the keys of the certificates that the listener serves, in the order of certificateRefs.
	Secrets []string
	// Names are the hosts in these certificates.
	Names []string
	// Certified reports whether one of the certificates can be used now.
	Certified bool
	// Clients is how certificates of clients are verified, nil if none are requested.
	Clients *clientValidation
	// Problems are all known problems of the listener.
	Problems []verdict.Problem
	// Serves reports whether the listener is part of what Envoy gets.
	Serves bool
}

func (l *listenerRow) equal(o *listenerRow) bool {
	return l.entryRow.equal(o.entryRow) && l.Serves == o.Serves && l.Certified == o.Certified &&
		l.Clients.equal(o.Clients) &&
		slices.Equal(l.Secrets, o.Secrets) && slices.Equal(l.Names, o.Names) && equalProblems(l.Problems, o.Problems)
}

func (l *listenerRow) compare(o *listenerRow) int { return l.entryRow.compare(o.entryRow) }

// bindAddress is where Envoy listens: at the pod's addresses of the fleet's IP families.
func (l *listenerRow) bindAddress() *corev3.Address {
	family := ipFamily(l.Gateway.EnvoyProxy)
	if family == v1alpha1.IPFamilyIPv4 {
		return socketAddress("0.0.0.0", uint32(l.bindPort()))
	}
	address := socketAddress("::", uint32(l.bindPort()))
	address.GetSocketAddress().Ipv4Compat = family == v1alpha1.IPFamilyDualStack
	return address
}

// protocol is what the translation must know about a listener protocol that it serves.
type protocol struct {
	// kinds are the route kinds that may attach.
	kinds []gwapiv1.Kind
	// tls reports whether the listener terminates TLS.
	tls bool
	// sni reports whether the listener shares its port with others by the server name of the TLS handshake, and so has
	// filter chains of its own, and a route configuration of its own if it has any.
	sni bool
	// layer4 reports whether connections or datagrams are forwarded without reading their content.
	layer4 bool
	// transport is the protocol of the port. TCP and UDP have different ports.
	transport corev1.Protocol
	// statPrefix begins the name under which Envoy counts.
	statPrefix string
}

// protocols are the served ones.
var protocols = map[gwapiv1.ProtocolType]protocol{
	gwapiv1.HTTPProtocolType: {
		kinds: []gwapiv1.Kind{"HTTPRoute", "GRPCRoute"}, transport: corev1.ProtocolTCP,
		statPrefix: "http",
	},
	gwapiv1.HTTPSProtocolType: {
		kinds: []gwapiv1.Kind{"HTTPRoute", "GRPCRoute"}, tls: true, sni: true,
		transport: corev1.ProtocolTCP, statPrefix: "https",
	},
	gwapiv1.TLSProtocolType: {
		kinds: []gwapiv1.Kind{"TLSRoute", "TCPRoute"}, tls: true, sni: true, layer4: true,
		transport: corev1.ProtocolTCP, statPrefix: "tls-terminate",
	},
	gwapiv1.TCPProtocolType: {
		kinds: []gwapiv1.Kind{"TCPRoute"}, layer4: true, transport: corev1.ProtocolTCP,
		statPrefix: "tcp",
	},
	gwapiv1.UDPProtocolType: {
		kinds: []gwapiv1.Kind{"UDPRoute"}, layer4: true, transport: corev1.ProtocolUDP,
		statPrefix: "udp",
	},
}

// passthrough is protocol TLS on a listener that does not terminate it.
var passthrough = protocol{
	kinds: []gwapiv1.Kind{"TLSRoute"}, sni: true, layer4: true, transport: corev1.ProtocolTCP,
	statPrefix: "tls-passthrough",
}

// passed reports whether the listener forwards encrypted connections as they are.
func (p protocol) passed() bool { return p.sni && !p.tls }

// listener judges an entry: its conflicts with other listeners, and what it refers to.
func (t *Tables) listener(r *flow.Read, _ string, c *entryRow) (*listenerRow, bool) {
	l := &listenerRow{entryRow: c, Problems: slices.Clone(c.Written)}
	if p := t.conflict(r, c); p != nil {
		l.Problems = append(l.Problems, *p)
	}
	l.checkProtocol()
	l.checkPort()
	l.checkFilters()
	l.chooseKinds()
	l.checkSelector()
	p := c.protocol()
	if p.tls {
		t.certificates(r, l)
	}
	if p.tls && !p.layer4 {
		t.validateClients(r, l)
	}
	l.Serves = l.serves()
	return l, true
}

func (l *listenerRow) problem(p verdict.Problem) {
	p.Scope = string(l.Spec.Name)
	l.Problems = append(l.Problems, p)
}

// serves reports whether the listener is part of Envoy's configuration. It is not if its spec is invalid, or it has a
// conflict, no certificate, or no CA certificates to verify its clients. It is if its certificates exist but are
// broken, so that running proxies keep the certificate that they have (see certificates).
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
			Field: l.field("protocol"), Reason: string(gwapiv1.ListenerReasonUnsupportedProtocol), Weight: verdict.Invalid,
			Message: fmt.Sprintf("protocol %q is not served: use HTTP, HTTPS, TLS, TCP or UDP", l.Spec.Protocol),
		})
	}
}

// PodPorts are the TCP ports of every proxy's pod that are not for listeners: Envoy's administration, metrics and
// probes, and the shutdown manager (infra/bootstrap, infra/shutdown).
var PodPorts = []int32{19000, 19001, 19002, 19003}

func (l *listenerRow) checkPort() {
	if l.protocol().transport == corev1.ProtocolTCP && slices.Contains(PodPorts, l.bindPort()) {
		l.problem(verdict.Problem{
			Field: l.field("port"), Reason: string(gwapiv1.ListenerReasonPortUnavailable), Weight: verdict.Invalid,
			Message: fmt.Sprintf("port %d is one that Envoy's pods have for themselves: %v: use another port", l.Spec.Port,
				PodPorts),
		})
	}
}

// checkSelector reports a selector of allowedRoutes that cannot be read. It selects nothing.
func (l *listenerRow) checkSelector() {
	if a := l.Spec.AllowedRoutes; a != nil && a.Namespaces != nil &&
		deref(a.Namespaces.From) == gwapiv1.NamespacesFromSelector {
		for _, p := range policies.CheckNamespaces(l.field("allowedRoutes.namespaces.selector"), a.Namespaces.Selector) {
			l.problem(p)
		}
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
			Message: fmt.Sprintf("%s cannot attach to a listener of protocol %s: allowed here: %s", k.Kind, l.Spec.Protocol,
				joinKinds(served)),
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

func servedPort(_ string, l *listenerRow) []string {
	if !l.Serves {
		return nil
	}
	return []string{l.portKey()}
}

func sharedConfig(_ string, l *listenerRow) []string {
	if !l.onPort() || l.protocol().layer4 {
		return nil
	}
	return []string{configKey(l)}
}

func servedSecrets(_ string, l *listenerRow) []string {
	if !l.Serves {
		return nil
	}
	names := l.sdsSecrets()
	keys := make([]string, len(names))
	for i, s := range names {
		keys[i] = l.fleet() + "|" + s
	}
	return keys
}
