package translator

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"gatehouse/policies"
)

// unserved is a policy of a kind that is not served.
func (h *history) unserved() Object {
	for {
		if kind := pick(h, policies.Kinds...); kind.Unserved {
			p := kind.New()
			m := h.meta(h.namespace(), "u")
			p.SetName(m.Name)
			p.SetNamespace(m.Namespace)
			p.SetUID(m.UID)
			p.SetGeneration(m.Generation)
			p.SetCreationTimestamp(m.CreationTimestamp)
			*p.GetTargets() = h.targets()
			return p
		}
	}
}

func (h *history) retryBudget() Object {
	p := &gwapixv1alpha1.XBackendTrafficPolicy{ObjectMeta: h.meta(h.namespace(), pick(h, "b1", "b2"))}
	for range 1 + h.IntN(2) {
		p.Spec.TargetRefs = append(p.Spec.TargetRefs, gwapiv1.LocalPolicyTargetReference{
			Kind: pick[gwapiv1.Kind](h, "Service", "Service", "Service", "Secret"), Name: gwapiv1.ObjectName(pick(h, "s1", "s2")),
		})
	}
	p.Spec.RetryConstraint = maybe(h, gwapixv1alpha1.RetryConstraint{Budget: maybe(h, gwapixv1alpha1.BudgetDetails{Percent: ptr(h.IntN(120)), Interval: maybe[gwapiv1.Duration](h, "5s")})})
	if h.IntN(6) == 0 {
		p.Spec.SessionPersistence = &gwapiv1.SessionPersistence{}
	}
	return p
}
