package translator

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

func (t *Tables) gatewayStatus(r *flow.Read, key string, object *gwapiv1.Gateway) (*Status, bool) {
	g, ours := t.gateways.Get(r, key)
	if !ours {
		return t.unclassed(r, object)
	}
	rows := t.listenersByFleet.Lookup(r, key)
	problems := slices.Clone(g.Problems)
	fleet, _ := t.in.fleets.Get(r, key)
	missing := t.missing(r, key)
	desired := &gwapiv1.GatewayStatus{}
	var refused []string
	for i := range g.Gateway.Spec.Listeners {
		at := slices.IndexFunc(rows, func(row flow.Row[*listenerRow]) bool { return row.Value.Index == i })
		l := rows[at].Value
		status := t.listenerStatus(r, l, missing)
		if !trueIn(status.Conditions, string(gwapiv1.ListenerConditionAccepted)) || !trueIn(status.Conditions, string(gwapiv1.ListenerConditionProgrammed)) && !l.Serves {
			refused = append(refused, string(l.Spec.Name))
		}
		problems = append(problems, l.Problems...)
		desired.Listeners = append(desired.Listeners, status)
	}
	accepted := conditionOf(string(gwapiv1.GatewayConditionAccepted), string(gwapiv1.GatewayReasonAccepted), "The Gateway is accepted.",
		about(g.Problems, string(gwapiv1.GatewayConditionAccepted), ""))
	if g.accepted() && len(refused) > 0 {
		accepted.Reason = string(gwapiv1.GatewayReasonListenersNotValid)
		accepted.Message = fmt.Sprintf("listeners that are not valid: %v; see their conditions", refused)
		if len(refused) == len(rows) {
			accepted.Status = metav1.ConditionFalse
		}
	}
	programmed := g.programmed(accepted, fleet, missing)
	if programmed.Status == metav1.ConditionTrue && !slices.ContainsFunc(rows, func(row flow.Row[*listenerRow]) bool { return row.Value.able() }) {
		programmed.Status, programmed.Reason = metav1.ConditionFalse, string(gwapiv1.GatewayReasonInvalid)
		programmed.Message = "no listener can be served, see their conditions"
	}
	setAddresses(g.Gateway, fleet, desired, &programmed)
	desired.Conditions = append([]metav1.Condition{accepted, programmed}, g.tlsConditions()...)
	return newStatus(g.Gateway, problems, desired), true
}

// tlsConditions are about spec.tls of the Gateway; without it there are none.
func (g *gatewayRow) tlsConditions() []metav1.Condition {
	if g.Gateway.Spec.TLS == nil {
		return nil
	}
	kind := string(gwapiv1.GatewayConditionResolvedRefs)
	conditions := []metav1.Condition{
		conditionOf(kind, string(gwapiv1.GatewayReasonResolvedRefs), "All references of the Gateway itself are resolved.", about(g.Problems, kind, "")),
	}
	if insecure := insecureFallback(g.Gateway); insecure != nil {
		conditions = append(conditions, *insecure)
	}
	return conditions
}

// unclassed judges a Gateway whose class is not there: it may become ours. Nothing is written to it.
func (t *Tables) unclassed(r *flow.Read, g *gwapiv1.Gateway) (*Status, bool) {
	class := string(g.Spec.GatewayClassName)
	if _, ok := t.in.classes.Get(r, class); ok {
		return nil, false // It is another controller's.
	}
	missing := verdict.Problem{
		Field: "spec.gatewayClassName", Reason: string(gwapiv1.GatewayReasonPending), Weight: verdict.Unresolved,
		Message: fmt.Sprintf("no GatewayClass %q; create it or correct the name", class),
		Missing: &verdict.Ref{Group: gwapiv1.GroupName, Kind: "GatewayClass", Name: class},
	}
	return newStatus(g, append(t.rules.Check(g), missing), nil), true
}

func trueIn(conditions []metav1.Condition, kind string) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool { return c.Type == kind && c.Status == metav1.ConditionTrue })
}

// programmed says whether traffic of the accepted Gateway is served as it is written now.
func (g *gatewayRow) programmed(accepted metav1.Condition, fleet Fleet, missing map[Name]string) metav1.Condition {
	c := metav1.Condition{Type: string(gwapiv1.GatewayConditionProgrammed), Status: metav1.ConditionFalse}
	if unusable := about(g.Problems, c.Type, ""); len(unusable) > 0 {
		return conditionOf(c.Type, "", "", unusable)
	}
	switch {
	case accepted.Status != metav1.ConditionTrue:
		c.Reason, c.Message = string(gwapiv1.GatewayReasonInvalid), "the Gateway is not accepted, see its condition Accepted"
	case fleet.Failure != "":
		c.Reason, c.Message = string(gwapiv1.GatewayReasonNoResources), fleet.Failure
	case len(unassigned(g.Gateway, fleet)) > 0:
		c.Reason, c.Message = string(gwapiv1.GatewayReasonAddressNotUsable), notOfService(unassigned(g.Gateway, fleet))
	case len(addressesOf(g.Gateway, fleet)) == 0:
		c.Reason, c.Message = string(gwapiv1.GatewayReasonAddressNotAssigned), "no address has been assigned to the Gateway's Service yet"
	case fleet.Available <= 0:
		c.Reason, c.Message = string(gwapiv1.GatewayReasonNoResources), "no Envoy of this Gateway is ready yet"
	case len(missing) > 0:
		c.Reason, c.Message = string(gwapiv1.GatewayReasonPending), waitingFor(missing)
	default:
		c.Status, c.Reason = metav1.ConditionTrue, string(gwapiv1.GatewayReasonProgrammed)
		c.Message = fmt.Sprintf("%d/%d envoy replicas available", fleet.Available, fleet.Desired)
	}
	return c
}

// waitingFor names what no ready Envoy has acknowledged yet, and Envoy's words if it refused.
func waitingFor(missing map[Name]string) string {
	names := make([]Name, 0, len(missing))
	for n := range missing {
		names = append(names, n)
	}
	first := slices.MinFunc(names, compareNames)
	if words := missing[first]; words != "" {
		return fmt.Sprintf("Envoy refused %s: %s", first.Name, words)
	}
	return fmt.Sprintf("waiting for an Envoy to acknowledge %s", first.Name)
}

// missing lists what the fleet shall have and none of its proxies has acknowledged, with Envoy's words where one refused it. It is
// empty as soon as one proxy has everything.
func (t *Tables) missing(r *flow.Read, fleet string) map[Name]string {
	var best map[Name]string
	proxies := t.proxiesByFleet.Lookup(r, fleet)
	for _, p := range proxies {
		lacks := t.lacks(r, fleet, p.Value)
		if best == nil || len(lacks) < len(best) {
			best = lacks
		}
	}
	if len(proxies) == 0 {
		return t.lacks(r, fleet, Proxy{})
	}
	return best
}

func (t *Tables) lacks(r *flow.Read, fleet string, p Proxy) map[Name]string {
	lacks := map[Name]string{}
	for _, l := range t.portListenersByFleet.Lookup(r, fleet) {
		res := l.Value
		if p.Listeners[res.Name] != res.Version {
			n := Name{res.Type, res.Name}
			lacks[n] = p.Refused[n]
		}
		for _, need := range res.Needs {
			if need.Type == typeRoutes && !p.Routes[need.Name] || need.Type == typeScopes && !p.Scopes || need.Type == typeSecret && !p.Secrets[need.Name] && t.serves(r, fleet, need) {
				lacks[need] = p.Refused[need]
			}
		}
	}
	return lacks
}

// serves tells that a certificate can be acknowledged at all: one that is absent or broken is told of by its listener.
func (t *Tables) serves(r *flow.Read, fleet string, certificate Name) bool {
	_, ok := t.secrets.Get(r, fleet+"|"+certificate.Name)
	return ok
}

func (t *Tables) listenerStatus(r *flow.Read, l *listenerRow, missing map[Name]string) gwapiv1.ListenerStatus {
	scope := string(l.Spec.Name)
	attached, _ := t.attachedRoutes.Get(r, l.Key)
	s := gwapiv1.ListenerStatus{Name: l.Spec.Name, SupportedKinds: slices.Clone(l.Kinds), AttachedRoutes: attached}
	if s.SupportedKinds == nil {
		s.SupportedKinds = []gwapiv1.RouteGroupKind{}
	}
	accepted := about(l.Problems, string(gwapiv1.ListenerConditionAccepted), scope)
	conflicts := about(l.Problems, string(gwapiv1.ListenerConditionConflicted), scope)
	resolved := about(l.Problems, string(gwapiv1.ListenerConditionResolvedRefs), scope)
	s.Conditions = []metav1.Condition{
		l.distrusted(conditionOf(string(gwapiv1.ListenerConditionAccepted), string(gwapiv1.ListenerReasonAccepted), "The listener is accepted.", accepted), resolved),
		conditionOf(string(gwapiv1.ListenerConditionResolvedRefs), string(gwapiv1.ListenerReasonResolvedRefs), "All references are resolved.", resolved),
		listenerProgrammed(r, t, l, missing),
	}
	if len(conflicts) > 0 {
		c := conditionOf(string(gwapiv1.ListenerConditionConflicted), "", "", conflicts)
		c.Status = metav1.ConditionTrue
		s.Conditions = append(s.Conditions, c)
	}
	if overlap := t.overlapping(r, l); overlap != nil {
		s.Conditions = append(s.Conditions, *overlap)
	}
	return s
}

func listenerProgrammed(r *flow.Read, t *Tables, l *listenerRow, missing map[Name]string) metav1.Condition {
	c := metav1.Condition{Type: string(gwapiv1.ListenerConditionProgrammed), Status: metav1.ConditionFalse}
	if !l.able() {
		c.Reason, c.Message = string(gwapiv1.ListenerReasonInvalid), "the listener is not valid, see its other conditions"
		return c
	}
	port, _ := t.portListeners.Get(r, portKey(l))
	lacks := map[Name]string{}
	for name, words := range missing {
		if port != nil && (name == Name{port.Type, port.Name} || name.Type != typeListener && name.Name == l.Key) || slices.Contains(l.sdsSecrets(), name.Name) {
			lacks[name] = words
		}
	}
	if len(lacks) > 0 {
		c.Reason, c.Message = string(gwapiv1.ListenerReasonPending), waitingFor(lacks)
		return c
	}
	c.Status, c.Reason, c.Message = metav1.ConditionTrue, string(gwapiv1.ListenerReasonProgrammed), "The listener is served."
	return c
}

// able tells that a new Envoy can serve the listener.
func (l *listenerRow) able() bool { return l.Serves && l.hasWholeCertificate() }

// hasWholeCertificate: a listener of which all certificates are broken is not programmed, although running proxies still serve it.
func (l *listenerRow) hasWholeCertificate() bool {
	return !l.protocol().tls || l.Certified
}

// countRoutes counts the routes attached to a listener, each once however many of its parentRefs select it.
func (t *Tables) countRoutes(_ *flow.Read, _ string, members []flow.Row[*parentRow]) (int32, bool) {
	routes := int32(0)
	last := ""
	for _, m := range members { // Sorted by key, so a route's parentRefs stand together.
		if key := m.Value.Route.key(); key != last {
			last, routes = key, routes+1
		}
	}
	return routes, true
}
