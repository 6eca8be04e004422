package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const mutationsOfTheScene = `
apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: SCENE}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE, UPDATE]}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: SCENE}}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        object.spec.?rules.orValue([]).transformList(i, r, !has(r.timeouts),
        JSONPatch{op: "add", path: "/spec/rules/" + string(i) + "/timeouts", value: {"request": "10s"}})
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >-
        Object{metadata: Object.metadata{labels: {"example.com/timeouts": "platform"}}}
---
apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: SCENE-appends}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE, UPDATE]}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: SCENE}}
    objectSelector: {matchLabels: {appends: "yes"}}
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: '[JSONPatch{op: "add", path: "/spec/hostnames/-", value: "more.example.com"}]'}
`

// TestMutations: a rule of the platform fills in a timeout and a label, and whoever applies the same manifest again changes
// nothing. A rule that is not idempotent refuses the object.
func TestMutations(t *testing.T) {
	s := newScene(t, "mutations")
	out, err := apply(strings.ReplaceAll(mutationsOfTheScene, "SCENE", s.namespace))
	t.Cleanup(func() {
		_, _ = kubectl("delete", "admissionrule", s.namespace, s.namespace+"-appends", "--ignore-not-found")
	})
	must(t, out, err)
	const route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: cart}\nspec: {rules: [{name: a}, {name: b, timeouts: {request: 5s}}]}\n"
	filledIn := "spec.rules[0].timeouts: rule " + s.namespace + ` has set this to {"request":"10s"}`
	eventually(t, "all replicas to know the rule", func() error {
		for range 10 {
			out, err := s.tryApply(route)
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			if s.kubectl(t, "delete", "httproute", "cart"); !strings.Contains(out, "rule "+s.namespace+" has set this to") {
				return errors.New("nothing was filled in: " + out)
			}
		}
		return nil
	})
	out, err = s.tryApply(route)
	must(t, out, err)
	if !strings.Contains(out, "timeouts") || strings.Contains(out, "does not show it") {
		t.Errorf("kubectl says:\n%s\nand not %s", out, filledIn)
	}
	const stored = `jsonpath={.metadata.labels}{.spec.rules[*].timeouts.request} {.metadata.generation}`
	const want = `{"example.com/timeouts":"platform"}10s 5s 1`
	for range 2 {
		if got := strings.TrimSpace(s.kubectl(t, "get", "httproute", "cart", "-o", stored)); got != want {
			t.Errorf("stored: %s, want %s", got, want)
		}
		// kubectl sends the list of rules again, because it lacks what was filled in, as it does for defaults of CRDs.
		if out, err = s.tryApply(route); err != nil || strings.Contains(out, "Warning") {
			t.Errorf("applied again: %v\n%s", err, out)
		}
	}
	out, err = s.tryApply("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: appends, labels: {appends: \"yes\"}}\nspec: {hostnames: [a.example.com]}\n")
	if err == nil || !strings.Contains(out, "spec.hostnames[2]: rule "+s.namespace+"-appends: the rule cannot be evaluated: its mutations change this again") {
		t.Errorf("a rule that is not idempotent: %v\n%s", err, out)
	}
}
