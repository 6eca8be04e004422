package translator

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// declareGrants: grants by their namespace and by who may refer.
func (t *Tables) declareGrants() {
	t.grantsByNamespace = flow.NewIndex(t.in.grants, "grants by namespace",
		func(_ string, g *gwapiv1.ReferenceGrant) []string { return []string{g.Namespace} })
	t.grantsByReferrer = flow.NewIndex(t.in.grants, "grants by referrer", grantedReferrers)
}

// permitted reports whether from may refer to the object to: always in its own namespace, elsewhere with a
// ReferenceGrant in the namespace of to (Gateway API, ReferenceGrant).
func (t *Tables) permitted(r *flow.Read, from, to verdict.Ref) bool {
	if from.Namespace == to.Namespace {
		return true
	}
	for _, row := range t.grantsByNamespace.Lookup(r, to.Namespace) {
		if grants(row.Value, from, to) {
			return true
		}
	}
	return false
}

func grants(g *gwapiv1.ReferenceGrant, from, to verdict.Ref) bool {
	return grantsFrom(g.Spec.From, from) && grantsTo(g.Spec.To, to)
}

func grantsFrom(list []gwapiv1.ReferenceGrantFrom, from verdict.Ref) bool {
	for _, f := range list {
		if string(f.Group) == from.Group && string(f.Kind) == from.Kind && string(f.Namespace) == from.Namespace {
			return true
		}
	}
	return false
}

func grantsTo(list []gwapiv1.ReferenceGrantTo, to verdict.Ref) bool {
	for _, t := range list {
		if string(t.Group) == to.Group && string(t.Kind) == to.Kind &&
			(t.Name == nil || *t.Name == "" || string(*t.Name) == to.Name) {
			return true
		}
	}
	return false
}
