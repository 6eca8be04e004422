package translator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

func (t *Tables) gatewayStatus(r *flow.Read, key string, object *gwapiv1.Gateway) (*Status, bool) {
	g, ours := t.gateways.Get(r, key)
	if !ours || g.Lost {
		return t.unclassed(r, object)
	}
	problems := slices.Clone(g.Problems)
	fleet, _ := t.in.fleets.Get(r, key)
	sets, _ := t.attachedSets.Get(r, key)
	desired := &gwapiv1.GatewayStatus{}
	if sets > 0 {
		desired.AttachedListenerSets = &sets
	}
	own := t.judgeListeners(r, g.listenerKeys())
	problems, desired.Listeners = append(problems, own.problems...), own.statuses
	accepted := status.Condition(string(gwapiv1.GatewayConditionAccepted), string(gwapiv1.GatewayReasonAccepted),
		"The Gateway is accepted.",
		status.About(g.Problems, string(gwapiv1.GatewayConditionAccepted), ""))
	if g.accepted() {
		own.tell(&accepted, sets > 0)
	}
	addresses := g.assign(fleet)
	programmed := g.programmed(accepted, addresses, own.missing)
	if programmed.Status == metav1.ConditionTrue && !own.able && sets == 0 {
		programmed.Status, programmed.Reason = metav1.ConditionFalse, string(gwapiv1.GatewayReasonInvalid)
		programmed.Message = "no listener can be served, see their conditions"
	}
	addresses.tell(desired, &programmed)
	if t.fieldDropped(r, FieldRoutability) {
		desired.Addresses = withoutRoutability(desired.Addresses)
	}
	desired.Conditions = []metav1.Condition{accepted, programmed, g.resolvedRefs(own.unresolved)}
	if assigned := addresses.condition(); assigned != nil {
		desired.Conditions = append(desired.Conditions, *assigned)
	}
	desired.Conditions = append(desired.Conditions, status.FalseOnly(conditionChain,
		status.About(g.Problems, conditionChain, ""))...)
	if insecure := insecureFallback(g.Gateway); insecure != nil {
		desired.Conditions = append(desired.Conditions, *insecure)
	}
	return newStatus(g.Gateway, problems, desired), true
}

// resolvedRefs reports the references of the Gateway itself, and a summary of those of its listeners (Gateway API,
// GatewayConditionResolvedRefs).
func (g *gatewayRow) resolvedRefs(unresolved []string) metav1.Condition {
	kind := string(gwapiv1.GatewayConditionResolvedRefs)
	own := status.About(g.Problems, kind, "")
	c := status.Condition(kind, string(gwapiv1.GatewayReasonResolvedRefs), "All references are resolved.", own)
	if len(unresolved) > 0 && len(own) == 0 {
		c.Status, c.Reason = metav1.ConditionFalse, string(gwapiv1.GatewayReasonListenersNotResolved)
		c.Message = fmt.Sprintf("listeners with references that are not resolved: %v: see their conditions", unresolved)
	}
	return c
}

// unclassed judges a Gateway whose class does not exist, because it may become ours. Nothing is written to it.
func (t *Tables) unclassed(r *flow.Read, g *gwapiv1.Gateway) (*Status, bool) {
	class := string(g.Spec.GatewayClassName)
	if _, ok := t.in.classes.Get(r, class); ok {
		return nil, false // It is another controller's.
	}
	named := verdict.Ref{Group: gwapiv1.GroupName, Kind: "GatewayClass", Name: class}
	missing := verdict.Absent("spec.gatewayClassName", named, string(gwapiv1.GatewayReasonPending))
	return newStatus(g, append(t.rules.Check(g), missing), nil), true
}

func (g *gatewayRow) listenerKeys() []string {
	keys := make([]string, len(g.Gateway.Spec.Listeners))
	for i := range g.Gateway.Spec.Listeners {
		keys[i] = keyOf(g.Gateway) + "/" + string(g.Gateway.Spec.Listeners[i].Name)
	}
	return keys
}

// programmed reports whether traffic of the accepted Gateway is served as it is written now.
func (g *gatewayRow) programmed(accepted metav1.Condition, a *assignment, missing map[Name]string) metav1.Condition {
	c := g.ready(a)
	switch {
	case len(status.About(g.Problems, c.Type, "")) > 0:
		return c
	case accepted.Status != metav1.ConditionTrue:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, string(gwapiv1.GatewayReasonInvalid),
			"the Gateway is not accepted, see its condition Accepted"
	case c.Status == metav1.ConditionTrue && len(missing) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, string(gwapiv1.GatewayReasonPending), waitingFor(missing)
	}
	return c
}

// ready is the condition Programmed as far as the Gateway's fleet and addresses are concerned.
func (g *gatewayRow) ready(a *assignment) metav1.Condition {
	c := metav1.Condition{Type: string(gwapiv1.GatewayConditionProgrammed), Status: metav1.ConditionFalse}
	fleet := a.fleet
	switch unusable := status.About(g.Problems, c.Type, ""); {
	case a.none():
		c.Reason, c.Message = string(gwapiv1.GatewayReasonAddressNotAssigned), strings.Join(a.unmet(false), "\n")
	case len(unusable) > 0:
		return status.Condition(c.Type, "", "", unusable)
	case fleet.Failure != "":
		c.Reason, c.Message = string(gwapiv1.GatewayReasonNoResources), fleet.Failure
	case len(a.unmet(true)) > 0:
		c.Reason, c.Message = string(gwapiv1.GatewayReasonAddressNotUsable), strings.Join(a.unmet(true), "\n")
	case len(a.addresses()) == 0:
		c.Reason, c.Message = string(gwapiv1.GatewayReasonAddressNotAssigned),
			"no address has been assigned to the Gateway's Service yet"
	case fleet.Available <= 0:
		c.Reason, c.Message = string(gwapiv1.GatewayReasonNoResources), "no Envoy of this Gateway is ready yet"
	default:
		c.Status, c.Reason = metav1.ConditionTrue, string(gwapiv1.GatewayReasonProgrammed)
		c.Message = fmt.Sprintf("%d/%d envoy replicas available", fleet.Available, fleet.Desired)
	}
	return c
}
