package issuer

import (
	"testing"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	token = "DGyRejmCefe7v4NfDGDKfA"
	key   = token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
)

func challenge() *acmev1.Challenge {
	return &acmev1.Challenge{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c", UID: "1"},
		Spec: acmev1.ChallengeSpec{
			Type: acmev1.ACMEChallengeTypeHTTP01, DNSName: "a.example.com", Token: token, Key: key,
		},
	}
}

func solverRoute() *gwapiv1.HTTPRoute {
	path := gwapiv1.HTTPPathMatch{Type: new(gwapiv1.PathMatchExact), Value: new(challengePath + token)}
	r := &gwapiv1.HTTPRoute{}
	r.Namespace, r.Name = "shop", "cm-acme-http-solver-x"
	r.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "acme.cert-manager.io/v1", Kind: "Challenge", Name: "c", UID: "1", Controller: new(true),
	}}
	r.Spec.Hostnames = []gwapiv1.Hostname{"a.example.com"}
	r.Spec.Rules = []gwapiv1.HTTPRouteRule{{Matches: []gwapiv1.HTTPRouteMatch{{Path: &path}}}}
	return r
}

// TestAnswer: a route gets past policies only if nothing about it differs from what cert-manager makes, and what it then
// serves is never anything else than a key authorization.
func TestAnswer(t *testing.T) {
	if got := Answer(challenge(), solverRoute()); got != key || Challenger(solverRoute()) != "c" {
		t.Fatalf("the route of cert-manager answers %q", got)
	}
	for name, forge := range map[string]func(c *acmev1.Challenge, r *gwapiv1.HTTPRoute){
		"no owner":           func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.OwnerReferences = nil },
		"not the controller": func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.OwnerReferences[0].Controller = nil },
		"another UID":        func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.OwnerReferences[0].UID = "2" },
		"another namespace":  func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.Namespace = "team" },
		"another host":       func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.Spec.Hostnames[0] = "b.example.com" },
		"one more host": func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) {
			r.Spec.Hostnames = append(r.Spec.Hostnames, "b.example.com")
		},
		"no host":       func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.Spec.Hostnames = nil },
		"wildcard":      func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.Spec.Hostnames[0] = "*.example.com" },
		"prefix":        func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { *r.Spec.Rules[0].Matches[0].Path.Type = "PathPrefix" },
		"default type":  func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.Spec.Rules[0].Matches[0].Path.Type = nil },
		"another path":  func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { *r.Spec.Rules[0].Matches[0].Path.Value = "/admin" },
		"another token": func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { *r.Spec.Rules[0].Matches[0].Path.Value += "x" },
		"one more match": func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) {
			m := &r.Spec.Rules[0].Matches
			*m = append(*m, (*m)[0])
		},
		"one more rule": func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.Spec.Rules = append(r.Spec.Rules, r.Spec.Rules[0]) },
		"no match":      func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) { r.Spec.Rules[0].Matches = nil },
		"a filter": func(_ *acmev1.Challenge, r *gwapiv1.HTTPRoute) {
			r.Spec.Rules[0].Filters = make([]gwapiv1.HTTPRouteFilter, 1)
		},
		"DNS-01":           func(c *acmev1.Challenge, _ *gwapiv1.HTTPRoute) { c.Spec.Type = acmev1.ACMEChallengeTypeDNS01 },
		"a key of another": func(c *acmev1.Challenge, _ *gwapiv1.HTTPRoute) { c.Spec.Key = "x" + c.Spec.Key },
		"content as a key": func(c *acmev1.Challenge, _ *gwapiv1.HTTPRoute) { c.Spec.Key = token + ".<h1>of somebody's own</h1>" },
		"more than a key":  func(c *acmev1.Challenge, _ *gwapiv1.HTTPRoute) { c.Spec.Key += "\n<h1>of somebody's own</h1>" },
		"no key":           func(c *acmev1.Challenge, _ *gwapiv1.HTTPRoute) { c.Spec.Key = "" },
		"a path in the token": func(c *acmev1.Challenge, r *gwapiv1.HTTPRoute) {
			c.Spec.Token, c.Spec.Key = "../../admin-of-the-shop", "../../admin-of-the-shop"+c.Spec.Key[len(token):]
			*r.Spec.Rules[0].Matches[0].Path.Value = challengePath + c.Spec.Token
		},
	} {
		c, r := challenge(), solverRoute()
		if forge(c, r); Answer(c, r) != "" {
			t.Errorf("%s: the route answers %q past all policies", name, Answer(c, r))
		}
	}
	for _, owner := range []metav1.OwnerReference{
		{APIVersion: "example.com/v1", Kind: "Challenge", Name: "c", UID: "1", Controller: new(true)},
		{APIVersion: "acme.cert-manager.io/v1", Kind: "Order", Name: "c", UID: "1", Controller: new(true)},
	} {
		r := solverRoute()
		if r.OwnerReferences[0] = owner; Challenger(r) != "" {
			t.Errorf("%v is taken for a Challenge", owner)
		}
	}
}
