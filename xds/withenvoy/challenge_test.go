package withenvoy

import (
	"fmt"
	"net/http"
	"testing"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

const (
	challengePath = "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA"
	challengeKey  = "DGyRejmCefe7v4NfDGDKfA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
)

// challenge is a Challenge for a.example.com, and the route that cert-manager makes for it.
func (c *translated) challenge() (*acmev1.Challenge, *gwapiv1.HTTPRoute) {
	challenge := &acmev1.Challenge{ObjectMeta: c.meta("challenge")}
	challenge.Spec = acmev1.ChallengeSpec{
		Type: acmev1.ACMEChallengeTypeHTTP01, DNSName: "a.example.com", Token: "DGyRejmCefe7v4NfDGDKfA", Key: challengeKey,
	}
	route := c.route("a.example.com", nil)
	route.ObjectMeta = c.meta("solver")
	route.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: acmev1.SchemeGroupVersion.String(), Kind: acmev1.ChallengeKind, Name: "challenge", UID: "u", Controller: new(true),
	}}
	route.Spec.Rules[0].Matches = []gwapiv1.HTTPRouteMatch{{
		Path: &gwapiv1.HTTPPathMatch{Type: new(gwapiv1.PathMatchExact), Value: new(challengePath)},
	}}
	return challenge, route
}

// TestChallenge asks as an ACME server does, on a Gateway where everybody must authenticate and all is redirected to
// HTTPS. The answer comes while the challenge is there, and nothing else changes for the host.
func TestChallenge(t *testing.T) {
	for _, scoped := range []bool{false, true} {
		t.Run(fmt.Sprintf("scoped %t", scoped), func(t *testing.T) { proveHost(t, scoped) })
	}
}

func proveHost(t *testing.T, scoped bool) {
	c := startTranslated(t, scoped)
	c.apply(c.route("open.test", nil))
	c.serves(proxyPort, "open.test")
	redirect := c.route("a.example.com", nil)
	if !scoped {
		redirect.Spec.Hostnames = nil // The route for the challenge has the only virtual host of the name.
	}
	redirect.Spec.Rules = []gwapiv1.HTTPRouteRule{{Filters: []gwapiv1.HTTPRouteFilter{{
		Type: gwapiv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gwapiv1.HTTPRequestRedirectFilter{Scheme: new("https")},
	}}}}
	policy := &v1alpha1.SecurityPolicy{ObjectMeta: c.meta("people")}
	policy.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{Group: gwapiv1.GroupName, Kind: "Gateway", Name: "web"},
	}}
	policy.Spec.BasicAuth = &v1alpha1.BasicAuth{Users: gwapiv1.SecretObjectReference{Name: "people"}}
	c.apply(c.users("ann", "secret"), policy, redirect)
	envoytest.WaitFor(t, "the redirect behind the policy", func() bool { return answer(t, "/") == "401 " })

	challenge, route := c.challenge()
	others := func(when string) {
		t.Helper()
		for _, path := range []string{"/", "/.well-known/acme-challenge/other", challengePath + "/", challengePath + "x"} {
			if got := answer(t, path); got != "401 " {
				t.Errorf("%s: %s: %s", when, path, got)
			}
		}
		if got := verbatim(t, http.MethodGet, "a.example.com", "/", "Authorization: Basic YW5uOnNlY3JldA==").StatusCode; got != 302 {
			t.Errorf("%s: a user is redirected by %d", when, got)
		}
	}
	c.apply(challenge, route)
	envoytest.WaitFor(t, "the answer", func() bool { return answer(t, challengePath) == "200 "+challengeKey })
	others("with the challenge")

	c.delete(challenge)
	envoytest.WaitFor(t, "the end of the answer", func() bool { return answer(t, challengePath) == "401 " })
	c.delete(route)
	c.quiet()
	others("afterwards")
}

// answer is the status of a response, and its body if it is 200.
func answer(t *testing.T, path string) string {
	response := exchange(t, http.MethodGet, path)
	if response.StatusCode != http.StatusOK {
		return fmt.Sprintf("%d ", response.StatusCode)
	}
	return fmt.Sprintf("200 %s", content(response))
}
