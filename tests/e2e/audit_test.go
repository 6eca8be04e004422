package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

const auditOfTheScene = `
apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: SCENE}
spec:
  severity: audit
  matchConstraints:
    resourceRules:
    - {apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE, UPDATE]}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: SCENE}}
  validations:
  - expression: object.spec.hostnames.all(h, h.endsWith(".example.com"))
    fieldPath: spec.hostnames
    message: use a host below example.com
`

// TestAudit: objects that were stored before a rule are in the status of the rule, in a metric of the leader and in a
// report, and are gone from there when they are mended.
func TestAudit(t *testing.T) {
	s := newScene(t, "audit")
	reports := filepath.Join(root, "controller/audit/testdata/openreports.yaml")
	mustKubectl(t, "apply", "--server-side", "-f", reports)
	t.Cleanup(func() { _, _ = kubectl("delete", "-f", reports, "--ignore-not-found") })
	route := func(name, host string) string {
		return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s}\nspec: {hostnames: [%s]}\n",
			name, host)
	}
	s.apply(t, route("good", "good.example.com"), route("bad", "bad.example.org"))
	out, err := apply(strings.ReplaceAll(auditOfTheScene, "SCENE", s.namespace))
	must(t, out, err)
	t.Cleanup(func() { _, _ = kubectl("delete", "admissionrule", s.namespace, "--ignore-not-found") })

	status := func(want string) {
		t.Helper()
		const path = "{.status.audit.judged} {.status.audit.violations} {.status.audit.first[*].name} {.status.audit.first[*].message}"
		eventually(t, "the status of the rule", func() error {
			out, err := kubectl("get", "admissionrule", s.namespace, "-o", "jsonpath="+path)
			if err == nil && strings.TrimSpace(out) != want {
				err = fmt.Errorf("it is %q, want %q", out, want)
			}
			return err
		})
	}
	status("2 1 bad use a host below example.com")
	if out := mustKubectl(t, "get", "admissionrule", s.namespace); !strings.Contains(out, "VIOLATIONS") {
		t.Errorf("kubectl shows no violations:\n%s", out)
	}
	metric := func(want string) {
		t.Helper()
		want = fmt.Sprintf(`gatehouse_admission_rule_violations{outcome="violated",rule=%q} %s`, s.namespace, want)
		eventually(t, "the metric of one replica", func() error {
			if n := strings.Count(metricsOfAll(t), want); n != 1 {
				return fmt.Errorf("%d replicas have %s", n, want)
			}
			return nil
		})
	}
	metric("1")
	const path = "{.source} {.summary.pass} {.summary.warn} {.results[*].policy} {.results[*].resources[*].name} {.results[*].message}"
	s.becomes(t, "report/gatehouse", path, "gatehouse 1 1 "+s.namespace+" bad use a host below example.com")

	s.apply(t, route("bad", "bad.example.com"))
	status("2 0")
	metric("0")
	eventually(t, "the report to be gone", func() error {
		out, err := kubectl("get", "reports", "-n", s.namespace, "-o", "name")
		if err == nil && strings.TrimSpace(out) != "" {
			err = fmt.Errorf("there is %s", out)
		}
		return err
	})
}

// mustKubectl runs kubectl, and ends the test if that fails.
func mustKubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := kubectl(args...)
	return must(t, out, err)
}

// metricsOfAll are the metrics of all replicas of the control plane.
func metricsOfAll(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, ip := range strings.Fields(mustKubectl(t, "get", "pods", "-n", "gatehouse-system", "-l", controlPlane, "-o",
		"jsonpath={.items[*].status.podIP}")) {
		out, err := inside("curl", "-s", "http://"+ip+":19001/metrics")
		all.WriteString(must(t, out, err))
	}
	return all.String()
}
