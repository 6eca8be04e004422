package policies

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Backends that a policy needs have settings of their own, such as those of an authorization server. They are served by
// the features of BackendTrafficPolicy, wherever they stand (decision 065). What these features set on routes has no
// effect there, because no route leads to such backends, unless the policy's own feature makes something of it.

// reasonOfRoutes is the reason of condition FieldsEffective if the fields are about requests of routes.
const reasonOfRoutes = "OnlyForRoutes"

// OfSettings returns a BackendTrafficPolicy with the settings, and its kind: settings mean the same wherever they
// stand.
func OfSettings(s *v1alpha1.ClusterSettings) (Kind, Object) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Kind == v1alpha1.KindBackendTrafficPolicy })
	return Kinds[i], &v1alpha1.BackendTrafficPolicy{Spec: v1alpha1.BackendTrafficPolicySpec{ClusterSettings: *s}}
}

// checkSettings finds what is wrong with the settings of all backends that a policy needs, and what of them has no
// effect.
func (k Kind) checkSettings(p Object) (problems []verdict.Problem) {
	for i, need := range k.Needs(p) {
		if need.Backend == nil || need.Backend.Settings == nil {
			continue
		}
		kind, policy := OfSettings(need.Backend.Settings)
		found := kind.Check(policy)
		for j := range found {
			found[j].Field = strings.TrimPrefix(found[j].Field, SpecField+".")
		}
		found = append(found, kind.checkModules(policy)...)
		if !verdict.Has(found, verdict.Invalid) {
			found = append(found, k.withoutEffect(p, i)...)
		}
		problems = append(problems, verdict.At(SpecField+"."+need.Backend.SettingsField, found)...)
	}
	return problems
}

// checkModules finds settings that need a module. Those are of the fleet of a Gateway, and a backend that a policy needs
// belongs to no Gateway.
func (k Kind) checkModules(settings Object) []verdict.Problem {
	u := feature.NewUpstream()
	if k.Cluster(settings, feature.Have{}, u); u.Unmet == "" {
		return nil
	}
	return []verdict.Problem{feature.Invalid("loadBalancer", "%s can only be used for backends of routes: choose another type", u.Unmet)}
}

// withoutEffect finds the settings of a need, by its index, that have no effect. Fields are relative to the settings.
func (k Kind) withoutEffect(p Object, need int) []verdict.Problem {
	written := *k.Needs(p)[need].Backend.Settings
	if ofRoutes(&written) == ofRoutes(&v1alpha1.ClusterSettings{}) {
		return nil // Nearly always.
	}
	s := settingsOf{kind: k, policy: p.DeepCopyObject().(Object), need: need}
	does := func(tree map[string]any) effects {
		settings := new(v1alpha1.ClusterSettings)
		encoded(tree, settings)
		return effects{here: s.effect(settings), elsewhere: ofRoutes(settings)}
	}
	var problems []verdict.Problem
	for _, field := range idle(decoded(&written), does) {
		problems = append(problems, feature.WithoutEffect(field, reasonOfRoutes,
			"this is about requests of routes, so it has no effect here: leave it out or choose something else"))
	}
	return problems
}

// ofRoutes encodes what settings set on a route.
func ofRoutes(s *v1alpha1.ClusterSettings) string {
	kind, policy := OfSettings(s)
	return routeBy(kind, policy, feature.Have{})
}

// routeBy encodes what a policy sets on a route that forwards.
func routeBy(kind Kind, p Object, have feature.Have) string {
	route := &routev3.Route{Action: &routev3.Route_Route{Route: &routev3.RouteAction{}}}
	kind.Route(p, have, route)
	return string(feature.Encode(route))
}

// settingsOf tries settings in a copy of the policy that has them.
type settingsOf struct {
	kind   Kind
	policy Object
	// need is the index of the need.
	need int
}

// effect encodes what settings do where they stand: to the cluster of the need, and by the policy to its routes.
func (s settingsOf) effect(settings *v1alpha1.ClusterSettings) string {
	need := s.kind.Needs(s.policy)[s.need]
	*need.Backend.Settings = *settings
	kind, policy := OfSettings(settings)
	upstream := feature.NewUpstream()
	kind.Cluster(policy, feature.Have{}, upstream)
	have := feature.Have{Clusters: map[string]feature.Cluster{need.Field: {Name: "cluster", Host: "host"}}}
	return string(Settings(upstream)) + routeBy(s.kind, s.policy, have)
}
