package translator

import "gatehouse/policies"

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
