package translator

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/translator/flow"
)

// Another controller may serve the same kinds beside this one, and more of their fields. It judges what belongs only to
// it, as with routes. An object that does not exist yet may become ours, and so may what refers to it.

// elsewhere reports whether all that a policy is attached to is another controller's.
func (t *Tables) elsewhere(r *flow.Read, p *policyRow) bool {
	attachments := t.attached.byPolicy.Lookup(r, p.ref().String())
	for _, a := range attachments {
		target := a.Value.Target
		if a.Value.Unmet != nil || t.targetKinds[target.Kind].mayBeOurs(r, Key(target.Namespace, target.Name)) {
			return false
		}
	}
	return len(attachments) > 0
}

func (t *Tables) routeMayBeOurs(r *flow.Read, route *routeRow) bool {
	if len(route.Parents) == 0 {
		return true
	}
	for i := range route.Parents {
		parent := parentRefOf(route, &route.Parents[i])
		if parent.Kind == "Gateway" && t.gatewayMayBeOurs(r, Key(parent.Namespace, parent.Name)) ||
			parent.Kind == "ListenerSet" && t.setMayBeOurs(r, Key(parent.Namespace, parent.Name)) {
			return true
		}
	}
	return false
}

func (t *Tables) setMayBeOurs(r *flow.Read, key string) bool {
	s, ok := t.in.listenerSets.Get(r, key)
	if !ok {
		return true
	}
	gateway, ok := parentKeyOf(s)
	return ok && t.gatewayMayBeOurs(r, gateway)
}

func (t *Tables) gatewayMayBeOurs(r *flow.Read, key string) bool {
	if _, ours := t.gateways.Get(r, key); ours {
		return true
	}
	g, ok := t.in.gateways.Get(r, key)
	if !ok {
		return true
	}
	c, ok := t.in.classes.Get(r, string(g.Spec.GatewayClassName))
	return !ok || t.ours(c)
}

// proxyUsers are the GatewayClasses and Gateways that refer to an EnvoyProxy.
type proxyUsers struct {
	// Open are Gateways that may become ours, such as those whose class does not exist.
	ours, elsewhere, open []gwapiv1.ParentReference
}

func (t *Tables) usersOf(r *flow.Read, key string) (u proxyUsers) {
	for _, c := range t.classesByProxy.Lookup(r, key) {
		if t.ours(c.Value) {
			u.ours = append(u.ours, classAncestor(c.Value))
		} else {
			u.elsewhere = append(u.elsewhere, classAncestor(c.Value))
		}
	}
	for _, g := range t.gatewaysByProxy.Lookup(r, key) {
		ref := gatewayAncestor(g.Value)
		if _, ours := t.gateways.Get(r, g.Key); ours {
			u.ours = append(u.ours, ref)
		} else if t.gatewayMayBeOurs(r, g.Key) {
			u.open = append(u.open, ref)
		} else {
			u.elsewhere = append(u.elsewhere, ref)
		}
	}
	return u
}

// proxyOfClass and proxyOfGateway are the keys of the EnvoyProxies that are used.
func proxyOfClass(_ string, c *gwapiv1.GatewayClass) []string {
	ref := c.Spec.ParametersRef
	if ref == nil || string(ref.Group) != v1alpha1.GroupName || ref.Kind != v1alpha1.KindEnvoyProxy ||
		ref.Namespace == nil {
		return nil
	}
	return []string{Key(string(*ref.Namespace), ref.Name)}
}

func proxyOfGateway(_ string, g *gwapiv1.Gateway) []string {
	if g.Spec.Infrastructure == nil || g.Spec.Infrastructure.ParametersRef == nil {
		return nil
	}
	ref := g.Spec.Infrastructure.ParametersRef
	if string(ref.Group) != v1alpha1.GroupName || ref.Kind != v1alpha1.KindEnvoyProxy {
		return nil
	}
	return []string{Key(g.Namespace, ref.Name)}
}
