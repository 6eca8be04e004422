package withenvoy

import (
	"fmt"
	"net/http"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// TestSharesWithoutEndpoints: half of the users get the error of a backend without endpoints, or of a missing backend,
// and each user always gets the same result, with hashing or with sessions.
func TestSharesWithoutEndpoints(t *testing.T) {
	c := startTranslated(t, false)
	var pods []http.Handler
	for i := range 3 {
		pods = append(pods, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, i) }))
	}
	c.apply(append(c.behind("pods", pods...), c.behind("empty")...)...)
	route := c.route("a.example.com", nil)
	to := func(path, other string, session *gwapiv1.SessionPersistence) gwapiv1.HTTPRouteRule {
		rule := *route.Spec.Rules[0].DeepCopy()
		rule.BackendRefs = append(rule.BackendRefs, *rule.BackendRefs[0].DeepCopy())
		rule.BackendRefs[0].Name, rule.BackendRefs[1].Name = "pods", gwapiv1.ObjectName(other)
		rule.SessionPersistence = session
		matched(&rule, path, "")
		return rule
	}
	cookie, header := cookieSession("s"), headerSession("x-s")
	hashed, kept := route.DeepCopy(), route.DeepCopy()
	hashed.Name, hashed.Spec.Rules = "hashed", []gwapiv1.HTTPRouteRule{
		to("/hashed/empty", "empty", nil),
		to("/hashed/gone", "gone", nil),
	}
	kept.Name, kept.Spec.Rules = "kept", []gwapiv1.HTTPRouteRule{
		to("/cookie/empty", "empty", cookie), to("/cookie/gone", "gone", cookie), to("/header/empty", "empty", header),
		to("/header/gone", "gone", header),
	}
	policy := c.retrying("HTTPRoute", "hashed", 0)
	policy.Spec.LoadBalancer = &v1alpha1.LoadBalancer{
		Type: v1alpha1.ConsistentHashLoadBalancerType,
		ConsistentHash: &v1alpha1.ConsistentHash{
			Type: v1alpha1.HeaderConsistentHashType, Header: &v1alpha1.Header{Name: "x-user"},
		},
	}
	whole := route.DeepCopy()
	whole.Name = "whole"
	c.apply(hashed, kept, policy, whole)
	c.reaches("/")

	const users = 200
	for path, failure := range map[string]int{
		"/hashed/empty": 503, "/hashed/gone": 500, "/cookie/empty": 503, "/cookie/gone": 500, "/header/empty": 503,
		"/header/gone": 500,
	} {
		failed := 0
		for user := range users {
			as := []string{"X-User", fmt.Sprint(user)}
			first := exchange(t, http.MethodGet, path, as...)
			switch first.StatusCode {
			case failure:
				failed++
				if path[:7] != "/hashed" {
					continue // There is no session yet.
				}
			case http.StatusOK:
			default:
				t.Fatalf("%s: user %d is answered %d", path, user, first.StatusCode)
			}
			for _, cookie := range first.Cookies() {
				as = append(as, "Cookie", "other=1; "+cookie.Name+"="+cookie.Value)
			}
			if session := first.Header.Get("X-S"); session != "" {
				as = append(as, "X-S", session)
			}
			body := content(first)
			for range 5 {
				if again := exchange(t, http.MethodGet, path, as...); again.StatusCode != first.StatusCode ||
					content(again) != body {
					t.Fatalf("%s: user %d is answered %d after %d", path, user, again.StatusCode, first.StatusCode)
				}
			}
		}
		// Five standard deviations of a binomial distribution.
		if failed < users/2-36 || failed > users/2+36 {
			t.Errorf("%s: %d of %d users get %d", path, failed, users, failure)
		}
	}
}

// TestBackendsGetTheirHost lets a rule and one of its backends rewrite the host.
func TestBackendsGetTheirHost(t *testing.T) {
	c := startTranslated(t, false)
	host := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", r.Host, r.Header.Get("X-Forwarded-Host"))
	})
	c.apply(append(c.behind("own", host), c.behind("other", host)...)...)
	route := c.route("a.example.com", nil)
	rewrite := func(host gwapiv1.PreciseHostname) []gwapiv1.HTTPRouteFilter {
		return []gwapiv1.HTTPRouteFilter{{
			Type:       gwapiv1.HTTPRouteFilterURLRewrite,
			URLRewrite: &gwapiv1.HTTPURLRewriteFilter{Hostname: &host},
		}}
	}
	rule := &route.Spec.Rules[0]
	matched(rule, "/one", "")
	rule.BackendRefs[0].Name, rule.BackendRefs[0].Filters = "own", rewrite("own.internal")
	both := *rule.DeepCopy()
	matched(&both, "/both", "")
	both.Filters = rewrite("rule.internal")
	both.BackendRefs = append(both.BackendRefs, *both.BackendRefs[0].DeepCopy())
	both.BackendRefs[1].Name, both.BackendRefs[1].Filters = "other", nil
	route.Spec.Rules = append(route.Spec.Rules, both)
	c.apply(route)
	c.reaches("/both")
	if got := content(exchange(t, http.MethodGet, "/one")); got != "own.internal a.example.com" {
		t.Errorf("the backend got %q", got)
	}
	got := map[string]bool{}
	for range 50 {
		got[content(exchange(t, http.MethodGet, "/both"))] = true
	}
	if len(got) != 2 || !got["own.internal a.example.com"] || !got["rule.internal a.example.com"] {
		t.Errorf("the backends got %v", got)
	}
}
