package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// mergedPolicy is a SecurityPolicy on a route that is merged over that of its Gateway.
const mergedPolicy = `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: %[1]s}
spec:
  mergeType: %[2]s
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: %[1]s}]
  %[3]s
`

// TestMergedPolicies: a policy on a route changes the one on its Gateway. What it does not set holds on the route as it
// does elsewhere; an empty list replaces another one. Without the policy on the Gateway, it takes effect as it is
// written.
func TestMergedPolicies(t *testing.T) {
	t.Parallel()
	s := newScene(t, "merged")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway,
		route("usual", "usual.example.com"), route("inherits", "inherits.example.com"), route("opens", "opens.example.com"),
		`apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: gateway}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  authorization: {defaultAction: Allow, rules: [{action: Deny, principal: {clientCIDRs: [0.0.0.0/0]}}]}
`,
		fmt.Sprintf(mergedPolicy, "inherits", "StrategicMerge", `cors: {allowOrigins: ["https://app.example.org"]}`),
		fmt.Sprintf(mergedPolicy, "opens", "JSONMerge", `authorization: {rules: []}`))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET usual.example.com/", http.StatusForbidden)
	settles(t, at, "GET inherits.example.com/", http.StatusForbidden)
	settles(t, at, "GET opens.example.com/", http.StatusOK)
	preflight := []string{"Access-Control-Request-Method", "PUT", "Origin", "https://app.example.org"}
	if a := asked(t, at, "OPTIONS inherits.example.com/",
		preflight...); a.header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("the route has no CORS: %d %v", a.code, a.header)
	}
	s.becomes(t, "securitypolicy/inherits", message(".status.ancestors[0]", "Merged"),
		fmt.Sprintf(`merged over SecurityPolicy "%s/gateway"`, s.namespace))
	s.becomes(t, "securitypolicy/gateway", message(".status.ancestors[0]", "Merged"),
		fmt.Sprintf(`changed by more specific policies on HTTPRoute "%[1]s/inherits", HTTPRoute "%[1]s/opens"`, s.namespace))

	s.kubectl(t, "delete", "securitypolicy", "gateway")
	settles(t, at, "GET usual.example.com/", http.StatusOK)
	settles(t, at, "GET inherits.example.com/", http.StatusOK)
	// Without a rule and a default action, it allows nobody.
	settles(t, at, "GET opens.example.com/", http.StatusForbidden)
	s.becomes(t, "securitypolicy/inherits", condition(".status.ancestors[0]", "Merged"), "")
}
