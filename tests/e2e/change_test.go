package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestRulesInsertedUnderLoad: a rule that is put before the serving one and taken away again, ten times over, fails no
// request.
func TestRulesInsertedUnderLoad(t *testing.T) {
	at := address(t, "default", "eg")
	answers(t, at, "www.example.com", "/", http.StatusOK)
	stop := load(at, "www.example.com")
	for i := range 10 {
		out, err := kubectl("patch", "httproute", "backend", "--type=json", "-p", fmt.Sprintf(
			`[{"op":"add","path":"/spec/rules/0","value":{"matches":[{"path":{"type":"PathPrefix","value":"/inserted-%d"}}],"backendRefs":[{"name":"backend","port":3000}]}}]`, i))
		must(t, out, err)
		out, err = kubectl("patch", "httproute", "backend", "--type=json", "-p", `[{"op":"remove","path":"/spec/rules/0"}]`)
		must(t, out, err)
	}
	noneFailed(t, stop)
}

// TestRulesReorderedUnderLoad: rules that change places, ten times over, fail no request, and each goes on answering
// for its own path.
func TestRulesReorderedUnderLoad(t *testing.T) {
	t.Parallel()
	s := newScene(t, "reorder")
	const reordered = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  hostnames: [reorder.example.com]
  rules: [%s, %s, %s]
`
	one := `{matches: [{path: {value: /one}}], backendRefs: [{name: a, port: 80}]}`
	two := `{matches: [{path: {value: /two}}], backendRefs: [{name: b, port: 80}]}`
	all := `{backendRefs: [{name: a, port: 80, weight: 1}, {name: b, port: 80, weight: 2}]}`
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(echoServer, "b", 1), plainGateway,
		fmt.Sprintf(reordered, one, two, all))
	at := address(t, s.namespace, "gw")
	for _, path := range []string{"one", "two", ""} {
		settles(t, at, "GET reorder.example.com/"+path, http.StatusOK)
	}
	stop := load(at, "reorder.example.com")
	for range 5 {
		for _, rules := range [][]any{{all, two, one}, {two, one, all}} {
			s.apply(t, fmt.Sprintf(reordered, rules...))
			for path, app := range map[string]string{"one": "a", "two": "b"} {
				if a := asked(t, at, "GET reorder.example.com/"+path); a.code != http.StatusOK || a.app() != app {
					t.Errorf("/%s is answered %d by %q", path, a.code, a.app())
				}
			}
		}
	}
	noneFailed(t, stop)
}

// TestFleetFollowsItsGateway: what somebody deletes of a Gateway's fleet comes back, and all of it goes with the
// Gateway.
func TestFleetFollowsItsGateway(t *testing.T) {
	out, err := apply(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: short-lived, namespace: default}
spec:
  gatewayClassName: eg
  listeners: [{name: http, protocol: HTTP, port: 80}]
`)
	must(t, out, err)
	fleet := []string{
		"get", "deployments,services,configmaps,serviceaccounts", "-n", "gatehouse-system", "-l",
		"gateway.envoyproxy.io/owning-gateway-name=short-lived", "-o", "name",
	}
	has := func(want int) func() error {
		return func() error {
			out, err := kubectl(fleet...)
			if got := strings.Count(out, "/"); err != nil || got != want {
				return fmt.Errorf("%d objects, want %d: %s %w", got, want, out, err)
			}
			return nil
		}
	}
	eventually(t, "the fleet is there", has(4))
	out, err = kubectl("delete", "deployment", "-n", "gatehouse-system", "-l",
		"gateway.envoyproxy.io/owning-gateway-name=short-lived", "--wait=true")
	must(t, out, err)
	eventually(t, "the deleted Deployment comes back", has(4))
	out, err = kubectl("delete", "gateway", "short-lived")
	must(t, out, err)
	eventually(t, "the fleet is gone with its Gateway", func() error {
		if out, err := kubectl(fleet...); err != nil || strings.Contains(out, "/") {
			return fmt.Errorf("%s %w", out, err)
		}
		return nil
	})
}
