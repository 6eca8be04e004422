package translator

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/translator/flow"
)

// targetKind is what the translation must know of a kind in policies.TargetKinds. Keys are namespace/name.
type targetKind struct {
	// sections returns the names of the object's sections, and whether the object exists.
	sections func(r *flow.Read, key string) ([]string, bool)
	// selection finds the objects by their labels. It is nil if selectors cannot select the kind.
	selection *selection
	// mayBeOurs reports whether the object is ours, or may become ours. It is nil for backends, which are no
	// controller's.
	mayBeOurs func(r *flow.Read, key string) bool
	// served reports whether the object is ours. It is nil if objects of the kind have no listeners.
	served func(r *flow.Read, key string) bool
	// gateways returns the Gateways of ours that the object is about. It is nil for backends: see securingGateways.
	gateways func(r *flow.Read, key string) []*gatewayRow
}

func (t *Tables) declareTargetKinds() {
	t.targetKinds = map[string]targetKind{"Gateway": t.targetedGateways(), "ListenerSet": t.targetedSets()}
	routes := declareSelection(t.in.routes, func(o Object) string { return string(routeKindOf(o).Name) })
	for _, kind := range routeKinds {
		t.targetKinds[string(kind.Name)] = t.targetedRoutes(kind, routes)
	}
	for _, kind := range backendKinds {
		t.targetKinds[kind.name] = t.targetedBackends(kind)
	}
}

func (t *Tables) targetedGateways() targetKind {
	return targetKind{
		sections: func(r *flow.Read, key string) ([]string, bool) {
			g, ok := t.in.gateways.Get(r, key)
			if !ok {
				return nil, false
			}
			return convert(g.Spec.Listeners, func(l gwapiv1.Listener) string { return string(l.Name) }), true
		},
		selection: declareSelection(t.in.gateways, func(*gwapiv1.Gateway) string { return "Gateway" }),
		mayBeOurs: t.gatewayMayBeOurs,
		served: func(r *flow.Read, key string) bool {
			_, ours := t.gateways.Get(r, key)
			return ours
		},
		gateways: func(r *flow.Read, key string) []*gatewayRow {
			if g, ok := t.gateways.Get(r, key); ok {
				return []*gatewayRow{g}
			}
			return nil
		},
	}
}

func (t *Tables) targetedSets() targetKind {
	return targetKind{
		sections: func(r *flow.Read, key string) ([]string, bool) {
			s, ok := t.in.listenerSets.Get(r, key)
			if !ok {
				return nil, false
			}
			return convert(s.Spec.Listeners, func(l gwapiv1.ListenerEntry) string { return string(l.Name) }), true
		},
		selection: declareSelection(t.in.listenerSets, func(*gwapiv1.ListenerSet) string { return "ListenerSet" }),
		mayBeOurs: t.setMayBeOurs,
		served: func(r *flow.Read, key string) bool {
			_, ours := t.listenerSets.Get(r, key)
			return ours
		},
		gateways: func(r *flow.Read, key string) []*gatewayRow {
			if s, ok := t.listenerSets.Get(r, key); ok {
				return []*gatewayRow{s.Gateway}
			}
			return nil
		},
	}
}

func (t *Tables) targetedRoutes(kind *routeKind, selection *selection) targetKind {
	return targetKind{
		sections: func(r *flow.Read, key string) ([]string, bool) {
			route, ok := t.routes.Get(r, routeKey(string(kind.Name), key))
			if !ok {
				return nil, false
			}
			return convert(route.Rules, func(rule feature.Rule) string { return string(deref(rule.Name)) }), true
		},
		selection: selection,
		mayBeOurs: func(r *flow.Read, key string) bool {
			route, ok := t.routes.Get(r, routeKey(string(kind.Name), key))
			return !ok || t.routeMayBeOurs(r, route)
		},
		gateways: func(r *flow.Read, key string) (gateways []*gatewayRow) {
			for _, p := range t.parentsByRoute.Lookup(r, routeKey(string(kind.Name), key)) {
				gateways = append(gateways, p.Value.Gateway)
			}
			return gateways
		},
	}
}

func convert[A, B any](list []A, to func(A) B) []B {
	converted := make([]B, len(list))
	for i, v := range list {
		converted[i] = to(v)
	}
	return converted
}

// targetKey finds a target of a kind of policy.
func targetKey(kind string, t policies.Target) string { return kind + "|" + placeKey(t) }

// placeKey finds a target of all kinds of policies.
func placeKey(t policies.Target) string {
	return t.Kind + "/" + t.Namespace + "/" + t.Name + "/" + t.Section
}
