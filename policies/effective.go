package policies

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/extauth"
	"gatehouse/policies/feature"
)

// What features say about the effective configuration is found by the same lists, and in the same order, as what they
// set for Envoy. So what wins there wins here.

// Effective says what the policy means.
func (k Kind) Effective(p Object, have feature.Have, e *feature.Effective) {
	k.effectiveOf(p, func(string) Object { return p }, have, e)
}

// Effective says what the merged policy means. Names belong to the policy that wrote them.
func (m *Merged) Effective(have feature.Have, e *feature.Effective) {
	m.kind.effectiveOf(m.Policy, m.Owner, have, e)
}

// effectiveOf is Effective for a policy of which owner wrote a field.
func (k Kind) effectiveOf(p Object, owner func(field string) Object, have feature.Have, e *feature.Effective) {
	for f := range k.features {
		e.Namespace = owner(SpecField + "." + f.name).GetNamespace()
		f.effective(p, have, e)
	}
}

// EffectiveOfRule says what a rule of a route means.
func EffectiveOfRule(r *feature.Rule, have feature.Have, e *feature.Effective) {
	for f := range featuresIn(r) {
		f.effective(r, have, e)
	}
}

// EffectiveOfGateway says what a Gateway means for its routes.
func EffectiveOfGateway(g *gwapiv1.Gateway, have feature.Have, e *feature.Effective) {
	e.Namespace = g.Namespace
	for f := range featuresOf(gatewayKind) {
		f.effective(g, have, e)
	}
}

// EffectiveOfListener says what the filters of a listener mean for its requests.
func EffectiveOfListener(filters []gwapiv1.ListenerFilter, e *feature.Effective) {
	for i := range filters {
		if spec := filters[i].ExternalAuth; spec != nil {
			extauth.Effective(spec, e)
		}
	}
}
