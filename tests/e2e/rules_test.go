package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const ruleOfTheScene = `
apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: SCENE}
spec:
  exceptions: Allowed
  matchConstraints:
    resourceRules:
    - {apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE, UPDATE]}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: SCENE}}
  paramKind: {apiVersion: v1, kind: ConfigMap}
  paramRef: {name: domains, parameterNotFoundAction: Deny}
  validations:
  - expression: object.spec.HOSTNAMES.all(h, h.endsWith(params.data.domain))
    fieldPath: spec.hostnames
    messageExpression: '"hostnames must be below " + params.data.domain + ": use one of your team"'
`

// TestRules: a rule of the platform holds in a namespace with level off too, once its status says that it is in effect,
// and until it is deleted; and an exception lets one object in. A rule that does not fit the CRDs is refused.
func TestRules(t *testing.T) {
	s := newScene(t, "rules", "gatehouse.dev/admission=off")
	rule := strings.ReplaceAll(ruleOfTheScene, "SCENE", s.namespace)
	out, err := apply(strings.ReplaceAll(rule, "HOSTNAMES", "hostnams"))
	const wrong = "spec.validations[0].expression: line 1, column 12: undefined field 'hostnams', for kind HTTPRoute"
	if err == nil || !strings.Contains(out, wrong) {
		t.Fatalf("a wrong rule: %v\n%s", err, out)
	}
	s.apply(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: domains}\ndata: {domain: .shop.example.com}\n")
	out, err = apply(strings.ReplaceAll(rule, "HOSTNAMES", "hostnames"))
	t.Cleanup(func() { _, _ = kubectl("delete", "admissionrule", s.namespace, "--ignore-not-found") })
	must(t, out, err)
	eventually(t, "the rule to be in effect", func() error {
		out, err := kubectl("get", "admissionrule", s.namespace, "-o", "jsonpath="+condition(".status", "Accepted"))
		if err == nil && out != "True" {
			err = fmt.Errorf("the status is %q", out)
		}
		return err
	})
	route := func(name, host string) string {
		return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s}\nspec: {hostnames: [%s]}\n",
			name, host)
	}
	denial := fmt.Sprintf("spec.hostnames: rule %s: hostnames must be below .shop.example.com: use one of your team", s.namespace)
	eventually(t, "all replicas to know the rule", func() error {
		for range 10 {
			if out, err := s.tryApply(route("denied", "a.example.com")); err == nil {
				s.kubectl(t, "delete", "httproute", "denied")
				return errors.New("a route was stored")
			} else if !strings.Contains(out, denial) {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
		return nil
	})
	s.apply(t, route("allowed", "a.shop.example.com"))
	s.apply(t, fmt.Sprintf(`
apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionException
metadata: {name: old}
spec: {rules: [%s], targets: [{kind: HTTPRoute, name: old}], owner: jane, reason: a test, expires: "2999-01-01T00:00:00Z"}
`, s.namespace))
	s.becomes(t, "admissionexception/old", condition(".status", "Effective"), "True")
	eventually(t, "the exception to let the route in", func() error {
		out, err := s.tryApply(route("old", "a.example.com"))
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	if out, err := s.tryApply(route("denied", "a.example.com")); err == nil {
		t.Errorf("the exception lets others in: %s", out)
	}
	s.kubectl(t, "delete", "admissionrule", s.namespace)
	eventually(t, "the rule to be gone", func() error {
		out, err := s.tryApply(route("free", "a.example.com"))
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
}
