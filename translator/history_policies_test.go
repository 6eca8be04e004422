package translator

import (
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"gatehouse/api/v1alpha1"
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

// mergeType is that of a policy with the targets; more often of one that targets routes, since others cannot have one.
func (h *history) mergeType(targets *v1alpha1.PolicyTargetReferences) *v1alpha1.MergeType {
	onRoute := slices.ContainsFunc(targets.TargetRefs, func(ref gwapiv1.LocalPolicyTargetReferenceWithSectionName) bool {
		return strings.HasSuffix(string(ref.Kind), "Route")
	}) || slices.ContainsFunc(targets.TargetSelectors,
		func(s v1alpha1.TargetSelector) bool { return strings.HasSuffix(string(s.Kind), "Route") })
	if !onRoute && h.IntN(20) > 0 {
		return nil
	}
	return maybe(h, pick(h, v1alpha1.StrategicMerge, v1alpha1.JSONMerge))
}

// base is a policy on a whole Gateway, and over is one on a whole route that is merged over others.
func (h *history) base() Object {
	p := h.security().(*v1alpha1.SecurityPolicy)
	p.Name, p.Spec.MergeType = "base", nil
	p.Spec.PolicyTargetReferences = wholeTarget("Gateway", pick(h, "g1", "g2"))
	return p
}

func (h *history) over() Object {
	p := h.security().(*v1alpha1.SecurityPolicy)
	p.Name, p.Spec.MergeType = "over", ptr(pick(h, v1alpha1.StrategicMerge, v1alpha1.JSONMerge))
	p.Spec.PolicyTargetReferences = wholeTarget(pick(h, "HTTPRoute", "HTTPRoute", "GRPCRoute"), pick(h, "r1", "r2"))
	return p
}

func wholeTarget(kind, name string) v1alpha1.PolicyTargetReferences {
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Group, target.Kind, target.Name = gwapiv1.GroupName, gwapiv1.Kind(kind), gwapiv1.ObjectName(name)
	return v1alpha1.PolicyTargetReferences{TargetRefs: []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}}
}

func (h *history) clientTraffic() Object {
	p := &v1alpha1.ClientTrafficPolicy{ObjectMeta: h.meta(h.namespace(), pick(h, "ctp1", "ctp2"))}
	p.Spec.PolicyTargetReferences = pick(h, h.targets(), wholeTarget("Gateway", "g1"))
	if h.IntN(3) == 0 { // Few Gateways have what HTTP/3 needs, so these policies have no other field that could be refused.
		p.Spec.HTTP3 = &v1alpha1.HTTP3Settings{}
		return p
	}
	p.Spec.Path = maybe(h, v1alpha1.PathSettings{
		EscapedSlashesAction: maybe(h, pick[v1alpha1.PathEscapedSlashAction](h, "KeepUnchanged", "RejectRequest",
			"UnescapeAndRedirect", "Guess")),
		DisableMergeSlashes: maybe(h, true),
	})
	p.Spec.HTTP3 = maybe(h, v1alpha1.HTTP3Settings{})
	if h.IntN(2) == 0 {
		p.Spec.TLS = h.clientTLS()
	}
	p.Spec.Timeout = maybe(h, v1alpha1.ClientTimeout{
		TCP: maybe(h, v1alpha1.TCPClientTimeout{
			IdleTimeout:                 maybe[gwapiv1.Duration](h, "5m"),
			ConnectionInspectionTimeout: maybe[gwapiv1.Duration](h, "2s"),
		}),
		HTTP: maybe(h, v1alpha1.HTTPClientTimeout{StreamIdleTimeout: maybe[gwapiv1.Duration](h, "1m")}),
	})
	return p
}

func (h *history) clientTLS() *v1alpha1.ClientTLSSettings {
	v := &v1alpha1.ClientValidationContext{
		Mode: maybe(h, pick(h, v1alpha1.ClientValidationVerifyIfGiven, v1alpha1.ClientValidationRequest)),
	}
	for range 1 + h.IntN(2) {
		ref := gwapiv1.SecretObjectReference{
			Kind: maybe[gwapiv1.Kind](h, "ConfigMap"), Name: gwapiv1.ObjectName(pick(h, "s", "s", "none")),
		}
		v.CACertificateRefs = append(v.CACertificateRefs, ref)
	}
	return &v1alpha1.ClientTLSSettings{
		TLSSettings:      v1alpha1.TLSSettings{MinVersion: maybe(h, v1alpha1.TLSv13)},
		ClientValidation: v,
	}
}

func (h *history) retryBudget() Object {
	p := &gwapixv1alpha1.XBackendTrafficPolicy{ObjectMeta: h.meta(h.namespace(), pick(h, "b1", "b2"))}
	for range 1 + h.IntN(2) {
		p.Spec.TargetRefs = append(p.Spec.TargetRefs, gwapiv1.LocalPolicyTargetReference{
			Kind: pick[gwapiv1.Kind](h, "Service", "Service", "Service", "Secret"),
			Name: gwapiv1.ObjectName(pick(h, "s1", "s2")),
		})
	}
	p.Spec.RetryConstraint = maybe(h, gwapixv1alpha1.RetryConstraint{Budget: maybe(h,
		gwapixv1alpha1.BudgetDetails{Percent: ptr(h.IntN(120)), Interval: maybe[gwapiv1.Duration](h, "5s")})})
	if h.IntN(6) == 0 {
		p.Spec.SessionPersistence = &gwapiv1.SessionPersistence{}
	}
	return p
}
