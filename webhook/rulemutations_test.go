package webhook

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/controller/kube"
)

const mutatingRules = `apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: a-timeouts}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE, UPDATE]}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        object.spec.rules.transformList(i, r, !has(r.timeouts),
        JSONPatch{op: "add", path: "/spec/rules/" + string(i) + "/timeouts", value: {"request": "10s"}})
---
apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: b-hostnames}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [gateways], operations: [CREATE, UPDATE]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >-
        Object{spec: Object.spec{listeners: object.spec.listeners.filter(l, !has(l.hostname)).map(l,
        Object.spec.listeners{name: l.name, hostname: l.name + ".example.com"})}}
---
apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: c-appends}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE, UPDATE]}
    objectSelector: {matchLabels: {appends: "yes"}}
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: '[JSONPatch{op: "add", path: "/spec/hostnames/-", value: "more.example.com"}]'}
`

// TestMutationsOfTheAPIServer: a real API server stores what rules fill in, with both patch types. Applying the same
// manifest again changes nothing, by server-side apply too. A rule that is not idempotent refuses the object.
func TestMutationsOfTheAPIServer(t *testing.T) {
	c := realCluster(t)
	book := NewRuleBook(RuleOptions{
		Live: c.client, Namespaces: c.client, Schemas: kube.Schemas(c.client), Log: testr.New(t),
	})
	s := serve(t, Options{Trier: newWorld(t, nil), Namespaces: c.client, Rules: book})
	c.tidy(t, "default")
	c.register(t, s, admissionregv1.Fail)
	user, warnings := c.user(t)
	for text := range strings.SplitSeq(mutatingRules, "---\n") {
		rule := &rulesv1alpha1.AdmissionRule{}
		if err := yaml.UnmarshalStrict([]byte(text), rule); err != nil {
			t.Fatal(err)
		}
		if err := user.Create(t.Context(), rule); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.client.Delete(t.Context(), rule) })
		book.Put(rule)
	}
	warnings.texts = nil
	const gateway = `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: mutated, namespace: default}, spec: {gatewayClassName: eg, listeners: [{name: shop, protocol: HTTP, port: 80}]}}`
	const route = `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: mutated, namespace: default}, spec: {rules: [{}, {timeouts: {request: 5s}}]}}`
	for text, want := range map[string]string{
		gateway: `spec.listeners[0].hostname: rule b-hostnames has set this to "shop.example.com": write the same if the manifest shall show what is stored`,
		route:   `spec.rules[0].timeouts: rule a-timeouts has set this to {"request":"10s"}: write the same if the manifest shall show what is stored`,
	} {
		apply := func() *unstructured.Unstructured {
			t.Helper()
			o := parsed(t, text)
			err := user.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("tester"), client.ForceOwnership)
			if err != nil {
				t.Fatal(err)
			}
			if err := user.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
				t.Fatal(err)
			}
			return o
		}
		warnings.texts = nil
		apply()
		if said := strings.Join(warnings.texts, "\n"); !strings.Contains(said, want) {
			t.Errorf("the first time, warnings:\n%s", said)
		}
		warnings.texts = nil
		second := apply()                   // It stores the defaults of the status, which are not stored at creation.
		time.Sleep(1100 * time.Millisecond) // The times of managed fields are in seconds.
		if third := apply(); third.GetResourceVersion() != second.GetResourceVersion() || third.GetGeneration() != 1 {
			t.Errorf("the object changed:\n%v\n%v", second, third)
		}
		if said := strings.Join(warnings.texts, "\n"); strings.Contains(said, "rule ") {
			t.Errorf("the next times, warnings:\n%s", said)
		}
	}
	stored := parsed(t, route)
	if err := user.Get(t.Context(), client.ObjectKeyFromObject(stored), stored); err != nil {
		t.Fatal(err)
	}
	rules, _, _ := unstructured.NestedSlice(stored.Object, "spec", "rules")
	for i, want := range []string{"10s", "5s"} {
		if got, _, _ := unstructured.NestedString(rules[i].(map[string]any), "timeouts", "request"); got != want {
			t.Errorf("rule %d has timeout %q, want %s", i, got, want)
		}
	}
	err := user.Create(t.Context(), parsed(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: appends, namespace: default, labels: {appends: "yes"}}, spec: {hostnames: [a.example.com], rules: [{timeouts: {request: 5s}}]}}`))
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.hostnames[2]: rule c-appends: the rule cannot be evaluated: its mutations change this again") {
		t.Errorf("a rule that is not idempotent: %v", err)
	}
}
