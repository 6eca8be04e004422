package manifests

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"gatehouse/controller"
)

// alertRules is a PrometheusRule, as far as the test reads it.
type alertRules struct {
	Kind     string
	Metadata struct{ Labels map[string]string }
	Spec     struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For string
				Labels           map[string]string
				Annotations      map[string]string
			}
		}
	}
}

// TestAlertsNameMetricsThatExist: the chart has no PrometheusRule by default. If it has one, each expression is about a
// metric that the control plane has, with labels that it has.
func TestAlertsNameMetricsThatExist(t *testing.T) {
	if text := string(helmTemplate(t, "gatehouse")); strings.Contains(text, "PrometheusRule") {
		t.Error("there is a PrometheusRule by default")
	}
	var rules alertRules
	text := helmTemplate(t, "gatehouse", "--set=prometheusRule.enabled=true,prometheusRule.labels.release=monitoring",
		"--show-only=templates/prometheusrule.yaml")
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	if rules.Kind != "PrometheusRule" || rules.Metadata.Labels["release"] != "monitoring" || len(rules.Spec.Groups) != 1 {
		t.Fatalf("the rendering is %s", text)
	}
	descriptions := make(chan *prometheus.Desc, 16)
	(&controller.Certificates{}).Describe(descriptions)
	close(descriptions)
	var metrics []string
	for d := range descriptions {
		metrics = append(metrics, d.String())
	}
	expression := regexp.MustCompile(`^max by \(namespace, exported_namespace, secret\) \((gatehouse_[a-z_]+)\) == [01]$`)
	var alerts []string
	for _, rule := range rules.Spec.Groups[0].Rules {
		alerts = append(alerts, rule.Alert)
		found := expression.FindStringSubmatch(rule.Expr)
		if found == nil || !slices.ContainsFunc(metrics, func(m string) bool {
			return strings.Contains(m, `"`+found[1]+`"`) && strings.Contains(m, "namespace") && strings.Contains(m, "secret")
		}) {
			t.Errorf("%s: no metric of the control plane fits %q", rule.Alert, rule.Expr)
		}
		if rule.For == "" || rule.Labels["severity"] == "" || rule.Annotations["description"] == "" ||
			!strings.Contains(rule.Annotations["summary"], "{{ or $labels.exported_namespace $labels.namespace }}/{{ $labels.secret }}") {
			t.Errorf("%s is not complete: %+v", rule.Alert, rule)
		}
	}
	want := []string{"GatehouseCertificateExpiresSoon", "GatehouseCertificateNotServed", "GatehouseCertificateIssuanceStuck"}
	if !slices.Equal(alerts, want) {
		t.Errorf("the alerts are %q, want %q", alerts, want)
	}
}
