package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestPolicies: what a policy promises is what its targets' traffic gets, and no other traffic.
func TestPolicies(t *testing.T) {
	t.Parallel()
	s := newScene(t, "policies")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(echoServer, "many", 3), plainGateway)
	s.applyFile(t, "policies.yaml")
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET plain.example.com/", http.StatusOK)
	settles(t, at, "GET closed.example.com/", http.StatusForbidden)

	t.Run("request timeout", func(t *testing.T) {
		if a := settles(t, at, "GET slow.example.com/?delay=2s", http.StatusGatewayTimeout); a.app() != "" {
			t.Errorf("answered by %s", a.asked.Pod)
		}
		if a := asked(t, at, "GET slow.example.com/"); a.code != http.StatusOK {
			t.Errorf("a request within the timeout was answered %d", a.code)
		}
	})
	t.Run("retry", func(t *testing.T) {
		flaky := func(host string, code int) string { // The third attempt succeeds.
			return fmt.Sprintf("GET %s/retry/?uuid=%s-%d&succeedAfter=2&responseCode=%d", host, host, code, code)
		}
		if a := asked(t, at, flaky("retry.example.com", 503)); a.code != http.StatusOK {
			t.Errorf("a request that two retries heal was answered %d", a.code)
		}
		if a := asked(t, at, flaky("retry.example.com", 502)); a.code != http.StatusBadGateway {
			t.Errorf("a status that the policy does not list was retried: %d", a.code)
		}
		if a := asked(t, at, flaky("plain.example.com", 503)); a.code != http.StatusServiceUnavailable {
			t.Errorf("a request of a route without the policy was answered %d", a.code)
		}
	})
	t.Run("consistent hash", func(t *testing.T) {
		settles(t, at, "GET hash.example.com/", http.StatusOK)
		s.kubectl(t, "rollout", "status", "deployment/many", "--timeout=60s")
		time.Sleep(time.Second) // A pod that has just become ready takes its share of the ring.
		pods := map[string]bool{}
		for user := range 16 {
			name := fmt.Sprintf("user-%d", user)
			first := asked(t, at, "GET hash.example.com/", "X-User", name).asked.Pod
			pods[first] = true
			for range 5 {
				if again := asked(t, at, "GET hash.example.com/", "X-User", name).asked.Pod; again != first {
					t.Errorf("%s went to %s and then to %s", name, first, again)
				}
			}
		}
		if len(pods) < 2 {
			t.Errorf("16 users share %d of 3 pods", len(pods))
		}
	})
	t.Run("CORS", func(t *testing.T) { corsPolicy(t, at) })
	t.Run("authorization", func(t *testing.T) {
		if a := asked(t, at, "GET office.example.com/"); a.code != http.StatusOK {
			t.Errorf("a client of an allowed range was answered %d", a.code)
		}
		if a := asked(t, at, "GET closed.example.com/"); a.code != http.StatusForbidden || a.app() != "" {
			t.Errorf("a client of no allowed range was answered %d by %q", a.code, a.asked.Pod)
		}
	})
}

// corsPolicy: preflight requests of allowed origins are answered by Envoy; others get no CORS headers.
func corsPolicy(t *testing.T, at string) {
	preflight := []string{"Access-Control-Request-Method", "PUT", "Origin"}
	a := asked(t, at, "OPTIONS cors.example.com/", append(preflight, "https://app.example.org")...)
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      "https://app.example.org",
		"Access-Control-Allow-Methods":     "GET,PUT",
		"Access-Control-Allow-Headers":     "X-Token",
		"Access-Control-Max-Age":           "600",
		"Access-Control-Allow-Credentials": "true",
	} {
		if got := strings.ReplaceAll(a.header.Get(name), " ", ""); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if a.code != http.StatusOK || a.app() != "" {
		t.Errorf("the preflight request was answered %d by %q, not by Envoy", a.code, a.asked.Pod)
	}
	if a := asked(t, at, "OPTIONS cors.example.com/", append(preflight,
		"https://evil.example.net")...); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin was allowed: %v", a.header)
	}
	if a := asked(t, at, "GET cors.example.com/", "Origin",
		"https://app.example.org"); a.header.Get("Access-Control-Expose-Headers") != "X-Total" {
		t.Errorf("X-Total is not exposed: %v", a.header)
	}
	if a := asked(t, at, "GET plain.example.com/", "Origin",
		"https://app.example.org"); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a route without the policy got CORS headers: %v", a.header)
	}
}

// TestMoreSpecificPolicyWins: a policy on a route replaces the one on its Gateway as a whole, on that route only; the
// loser says where. When it goes, the Gateway's takes effect there again.
func TestMoreSpecificPolicyWins(t *testing.T) {
	t.Parallel()
	s := newScene(t, "precedence")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("special", "special.example.com"),
		route("usual", "usual.example.com"),
		authorization("gateway", "Gateway", "gw", "Deny"), authorization("route", "HTTPRoute", "special", "Allow"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET usual.example.com/", http.StatusForbidden)
	settles(t, at, "GET special.example.com/", http.StatusOK)
	s.becomes(t, "securitypolicy/gateway", condition(".status.ancestors[0]", "Overridden"), "True")
	s.becomes(t, "securitypolicy/gateway", message(".status.ancestors[0]", "Overridden"),
		fmt.Sprintf(`a more specific SecurityPolicy takes effect instead on HTTPRoute "%s/special"`, s.namespace))
	s.kubectl(t, "delete", "securitypolicy", "route")
	settles(t, at, "GET special.example.com/", http.StatusForbidden)
	s.becomes(t, "securitypolicy/gateway", condition(".status.ancestors[0]", "Overridden"), "")
}

// TestOldestPolicyWins: of two policies for one target the older one takes effect; the younger says so, and takes over
// when the older goes.
func TestOldestPolicyWins(t *testing.T) {
	t.Parallel()
	s := newScene(t, "oldest")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("r", "oldest.example.com"),
		authorization("first", "HTTPRoute", "r", "Allow"))
	s.becomes(t, "securitypolicy/first", condition(".status.ancestors[0]", "Accepted"), "True")
	time.Sleep(time.Second) // The age of objects has no finer steps.
	out, err := s.tryApply(authorization("another", "HTTPRoute", "r", "Deny"))
	if must(t, out, err); !strings.Contains(out, `already has SecurityPolicy "first", which is older and wins`) {
		t.Errorf("no warning: %s", out)
	}
	s.becomes(t, "securitypolicy/another", reason(".status.ancestors[0]", "Accepted"), "Conflicted")
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET oldest.example.com/", http.StatusOK)
	s.kubectl(t, "delete", "securitypolicy", "first")
	settles(t, at, "GET oldest.example.com/", http.StatusForbidden)
	s.becomes(t, "securitypolicy/another", condition(".status.ancestors[0]", "Accepted"), "True")
}

// route sends a host to Service a.
func route(name, host string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: gw}]
  hostnames: [%s]
  rules: [{backendRefs: [{name: a, port: 80}]}]
`, name, host)
}

// authorization lets all clients of a target in, or none.
func authorization(name, kind, target, action string) string {
	return fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: %s, name: %s}]
  authorization: {defaultAction: %s}
`, name, kind, target, action)
}
