package admissionrule

import (
	"cmp"
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/effective"
)

// spare leaves out what is violated only because of routes and listeners of other objects that are excepted from the
// rule: it is not held against the object of the request. It returns the request without these routes and listeners.
func (r *Rule) spare(ctx context.Context, in *Input, all []any, found []violation) (*Input, []violation) {
	if !r.effective || r.spec.Exceptions != rulesv1alpha1.ExceptionsAllowed {
		return in, found
	}
	effects, err := in.effects()
	if err != nil {
		return in, found
	}
	spares := r.spares(in)
	if !slices.ContainsFunc(effects.before.pieces(), spares) && !slices.ContainsFunc(effects.after.pieces(), spares) {
		return in, found
	}
	rest := &Effects{before: effects.before.without(spares), after: effects.after.without(spares)}
	spared := *in
	spared.Effects = func() (*Effects, error) { return rest, nil }
	still := slices.DeleteFunc(r.violations(ctx, &spared, all), func(v violation) bool {
		return !slices.ContainsFunc(found, func(f violation) bool {
			return f.params == v.params && (f.of == nil || f.of == v.of)
		})
	})
	return &spared, still
}

// spares returns a function that reports whether a route or a listener belongs to another object than that of the request,
// which is excepted from the rule. It is not safe for concurrent use.
func (r *Rule) spares(in *Input) func(piece) bool {
	known := map[string]bool{}
	return func(p piece) bool {
		name := cmp.Or(p.route, p.owner)
		spared, ok := known[name]
		if !ok {
			e := r.exception(in, p.object())
			spared = e != nil && e.State(in.Now) != StateExpired && !p.isOf(in)
			known[name] = spared
		}
		return spared
	}
}

// isOf reports whether the piece belongs to the object of the request.
func (p piece) isOf(in *Input) bool {
	o := p.object()
	return o.kind.Group == in.Resource.Group && o.kind.Kind == in.Resource.Kind && o.namespace == in.Request.Namespace &&
		o.name == in.Request.Name
}

// object is the object that the piece belongs to: the route, or the Gateway or ListenerSet of the listener.
func (p piece) object() excepted {
	if p.rule != nil {
		return excepted{
			kind:      schema.GroupKind{Group: gatewayGroup, Kind: p.rule.Kind},
			namespace: p.rule.Namespace, name: p.rule.Name, labels: p.rule.Labels,
		}
	}
	owner := p.listener.Owner
	return excepted{
		kind:      schema.GroupKind{Group: gatewayGroup, Kind: owner.Kind},
		namespace: owner.Namespace, name: owner.Name, labels: p.listener.OwnerLabels,
	}
}

// without returns a side without some of its pieces.
func (s side) without(some func(piece) bool) side {
	pieces := slices.DeleteFunc(s.pieces(), some)
	rest := side{&effective.Configuration{}, only(pieces)}
	for _, p := range pieces {
		if p.rule != nil {
			rest.of.Routes = append(rest.of.Routes, p.rule)
		} else {
			rest.of.Listeners = append(rest.of.Listeners, p.listener)
		}
	}
	return rest
}
