package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestStatusOfOthers: what other controllers wrote into the status of an object stays as it is through all that
// Gatehouse writes there; of its own entries it removes those of parents that are named no more.
func TestStatusOfOthers(t *testing.T) {
	t.Parallel()
	s := newScene(t, "status")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, strings.Replace(plainGateway, "name: gw", "name: second", 1),
		marked("r", "{name: gw}, {name: second}", "hostnames: [status.example.com]\n  rules:\n  - matches: [{path: {value: /}}]"), `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: p}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}]
  cors: {allowOrigins: ["https://app.example.com"]}
`)
	s.becomes(t, "httproute/r", `{.status.parents[*].parentRef.name}`, "gw second")
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")
	s.becomes(t, "securitypolicy/p", condition(".status.ancestors[0]", "Accepted"), "True")

	const foreign = `{"type":"%s","status":"Unknown","reason":"Theirs","message":"written by somebody else","lastTransitionTime":"2026-01-02T03:04:05Z","observedGeneration":1}`
	const entry = `{"op":"add","path":"/status/%s/0","value":{"controllerName":"example.org/other","%s":{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"gw"},"conditions":[%s]}}`
	add := func(object, patch string) {
		t.Helper()
		s.kubectl(t, "patch", object, "--subresource=status", "--type=json", "-p", "["+patch+"]")
	}
	add("httproute/r", fmt.Sprintf(entry, "parents", "parentRef", fmt.Sprintf(foreign, "Accepted")))
	add("httproute/r", fmt.Sprintf(`{"op":"add","path":"/status/parents/1/conditions/-","value":%s}`,
		fmt.Sprintf(foreign, "example.org/Checked")))
	add("securitypolicy/p", fmt.Sprintf(entry, "ancestors", "ancestorRef", fmt.Sprintf(foreign, "Accepted")))
	add("gateway/gw", fmt.Sprintf(`{"op":"add","path":"/status/conditions/-","value":%s}`,
		fmt.Sprintf(foreign, "example.org/Checked")))
	add("gateway/gw", fmt.Sprintf(`{"op":"add","path":"/status/listeners/0/conditions/-","value":%s}`,
		fmt.Sprintf(foreign, "example.org/Checked")))
	const theirs = `.conditions[?(@.message=="written by somebody else")]['status','reason','lastTransitionTime','observedGeneration']}`
	untouched := func(object, below string) {
		t.Helper()
		if got, want := s.kubectl(t, "get", object, "-o", "jsonpath={"+below+theirs),
			"Unknown Theirs 2026-01-02T03:04:05Z 1"; got != want {
			t.Errorf("what somebody else wrote into %s at %s is %q, want %q", object, below, got, want)
		}
	}
	all := func() {
		t.Helper()
		untouched("httproute/r", `.status.parents[?(@.controllerName=="example.org/other")]`)
		untouched("securitypolicy/p", `.status.ancestors[?(@.controllerName=="example.org/other")]`)
		untouched("gateway/gw", ".status")
		untouched("gateway/gw", ".status.listeners[0]")
	}
	all()

	// Every object changes, so that each status is written again. The route loses its second parent and its backend. The
	// policy and the Gateway change.
	s.kubectl(t, "patch", "httproute", "r", "--type=json", "-p",
		`[{"op":"remove","path":"/spec/parentRefs/1"},{"op":"replace","path":"/spec/rules/0/backendRefs/0/name","value":"absent"}]`)
	s.kubectl(t, "patch", "securitypolicy", "p", "--type=merge", "-p",
		`{"spec":{"cors":{"allowOrigins":["https://other.example.com"]}}}`)
	s.kubectl(t, "patch", "gateway", "gw", "--type=json", "-p",
		`[{"op":"add","path":"/spec/listeners/-","value":{"name":"more","protocol":"HTTP","port":8080}}]`)
	const ours = `[?(@.controllerName=="gateway.envoyproxy.io/gatewayclass-controller")]`
	s.becomes(t, "httproute/r", "{.status.parents"+ours+".parentRef.name}", "gw")
	s.becomes(t, "httproute/r", reason(".status.parents"+ours, "ResolvedRefs"), "BackendNotFound")
	s.becomes(t, "httproute/r", `{.status.parents`+ours+`.conditions[?(@.type=="Accepted")].observedGeneration}`, "2")
	s.becomes(t, "securitypolicy/p", `{.status.ancestors`+ours+`.conditions[?(@.type=="Accepted")].observedGeneration}`,
		"2")
	s.becomes(t, "gateway/gw", condition(".status.listeners[1]", "Programmed")+"{.status.listeners[*].attachedRoutes}",
		"True1 1")
	untouched("httproute/r", ".status.parents"+ours)
	all()

	// Without any parent of ours, the other's entry is all that is left.
	s.kubectl(t, "patch", "httproute", "r", "--type=merge", "-p", `{"spec":{"parentRefs":[{"name":"gone"}]}}`)
	s.becomes(t, "httproute/r", "{.status.parents[*].controllerName}", "example.org/other")
	untouched("httproute/r", `.status.parents[?(@.controllerName=="example.org/other")]`)
}
