package manifests

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/rules/packs"
)

// rulesOf are the AdmissionRules that the chart makes of values.
func rulesOf(t *testing.T, values ...string) map[string]*rulesv1alpha1.AdmissionRule {
	t.Helper()
	rules := map[string]*rulesv1alpha1.AdmissionRule{}
	for _, object := range decode(t, helmTemplate(t, "gatehouse", values...)) {
		if rule, ok := object.(*rulesv1alpha1.AdmissionRule); ok {
			rules[rule.Name] = rule
		}
	}
	return rules
}

// TestPacksOfTheChart: each pack is installed with the severity of the values, and none by default.
func TestPacksOfTheChart(t *testing.T) {
	if rules := rulesOf(t); len(rules) > 0 {
		t.Errorf("the chart installs %d rules by default", len(rules))
	}
	seen := 0
	for i, pack := range packs.Names() {
		severity := []rulesv1alpha1.Severity{rulesv1alpha1.SeverityDeny, rulesv1alpha1.SeverityWarn, rulesv1alpha1.SeverityAudit}[i%3]
		rules := rulesOf(t, "--set=rulePacks."+pack+".severity="+string(severity))
		if len(rules) == 0 {
			t.Errorf("pack %s installs nothing", pack)
		}
		for name, rule := range rules {
			seen++
			if rule.Spec.Severity != severity || len(rule.Spec.Validations) == 0 || rule.Annotations["kubernetes.io/description"] == "" {
				t.Errorf("rule %s of pack %s: severity %q, want %q, and the rest as in the pack", name, pack, rule.Spec.Severity, severity)
			}
		}
	}
	if seen <= len(packs.Names()) {
		t.Errorf("%d rules in %d packs: production-hygiene has two", seen, len(packs.Names()))
	}
}

// TestPacksAreSet: the values set limits of a pack, and exclude namespaces in addition to what the rule excludes.
func TestPacksAreSet(t *testing.T) {
	rules := rulesOf(t, "--set=rulePacks.bounded-timeouts-and-retries.severity=warn",
		"--set=rulePacks.bounded-timeouts-and-retries.settings.longestRequest=30s,rulePacks.bounded-timeouts-and-retries.settings.mostRetries=2",
		"--set=rulePacks.no-envoy-patches.severity=deny,rulePacks.no-envoy-patches.excludedNamespaces={infra,ci}")
	got := map[string]string{}
	for _, v := range rules["bounded-timeouts-and-retries"].Spec.Variables {
		got[v.Name] = v.Expression
	}
	if got["longestRequest"] != `"30s"` || got["mostRetries"] != "2" || !strings.Contains(got["served"], "effective.routes") {
		t.Errorf("variables %v", got)
	}
	selector := rules["no-envoy-patches"].Spec.MatchConstraints.NamespaceSelector
	if len(selector.MatchExpressions) != 2 || !slices.Equal(selector.MatchExpressions[1].Values, []string{"infra", "ci"}) {
		t.Errorf("namespaceSelector %v", selector)
	}
}

// TestWrongPacksAreRefused: what would install nothing, or something else than meant, is an error that names the value.
func TestWrongPacksAreRefused(t *testing.T) {
	for _, c := range []struct{ values, want string }{
		{"rulePacks.tls-base.severity=deny", "tls-base"},
		{"rulePacks.tls-baseline.severity=block", "severity"},
		{"rulePacks.tls-baseline.severity=deny,rulePacks.tls-baseline.settings.longestRequest=1s", "settings"},
		{"rulePacks.tls-baseline.excludedNamespaces={a}", "severity"},
		{"rulePacks.bounded-timeouts-and-retries.severity=deny,rulePacks.bounded-timeouts-and-retries.settings.longestRequest=long", "longestRequest"},
		{"rulePacks.tls-baseline.severity=deny,admission.enabled=false", "set admission.enabled"},
	} {
		out, err := exec.Command(helm(t), "template", "gatehouse", "gatehouse", "--set="+c.values).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v, want an error with %q: %s", c.values, err, c.want, out)
		}
	}
}
