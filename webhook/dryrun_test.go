package webhook

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/translator"
)

// memo is what somebody could find of requests afterwards: lines of the log and Events.
type memo struct {
	mu    sync.Mutex
	lines []string
}

func (m *memo) Write(text []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, string(text))
	return len(text), nil
}

func (m *memo) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	lines := m.lines
	m.lines = nil
	return lines
}

// measuring are the metrics of the work of the webhook, which a dry run is too.
var measuring = []string{
	"gatehouse_admission_answers_total", "gatehouse_admission_duration_seconds", "gatehouse_admission_request_bytes",
	"gatehouse_admission_warnings_total", "gatehouse_admission_trial_rows",
}

// telling are all other metrics, with the values of their labels.
func telling(t *testing.T, from prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		if strings.Contains(strings.Join(measuring, " "), family.GetName()) {
			continue
		}
		for _, m := range family.GetMetric() {
			all[fmt.Sprint(family.GetName(), m.GetLabel())] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}

const storedForDryRuns = `
apiVersion: v1
kind: Namespace
metadata: {name: enforced}
---
apiVersion: v1
kind: Namespace
metadata: {name: warned, labels: {gatehouse.dev/admission: warn}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: eg, namespace: enforced}
spec:
  gatewayClassName: eg
  listeners: [{name: http, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: other, namespace: warned}
spec:
  parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: eg, namespace: enforced}]
  rules: [{}]
`

const ruleForDryRuns = `
apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: owned}
spec:
  severity: audit
  matchConstraints:
    resourceRules: [{apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE]}]
  validations: [{expression: has(object.metadata.labels), message: label it}]
`

// TestDryRunLeavesNothing: requests of all sorts are answered in a dry run as otherwise, and nothing tells of them
// afterwards: no Event, no line in the log, and no metric but those that measure the work. The turns are free again.
func TestDryRunLeavesNothing(t *testing.T) {
	metrics, found := prometheus.NewRegistry(), &memo{}
	log := funcr.New(func(prefix, args string) { fmt.Fprintln(found, prefix, args) }, funcr.Options{})
	there := decode(t, []byte(storedForDryRuns))
	world := newTables(t, []byte(storedForDryRuns))
	book := NewRuleBook(RuleOptions{Live: stored(there), Namespaces: stored(there), Metrics: metrics, Log: log})
	for _, o := range decode(t, []byte(ruleForDryRuns)) {
		book.Put(o.(*rulesv1alpha1.AdmissionRule))
	}
	changes, deletions := triers(t, world, nil)
	s := serve(t, Options{
		Trier: changes, Deletions: deletions, Effective: world.TryEffective,
		Namespaces: stored(there), Exists: existsIn(there), Access: mayRead, Rules: book, Metrics: metrics, Log: log,
		Events: reported(t, found),
	})
	route := func(namespace, annotations string, dryRun bool) string {
		return fmt.Sprintf(`
dryRun: %t
object:
  apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata: {name: a, namespace: %s, annotations: {%s}}
  spec:
    parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: eg, namespace: enforced}]
    rules: [{matches: [{path: {type: RegularExpression, value: "("}}]}]
`, dryRun, namespace, annotations)
	}
	deletion := func(dryRun bool) string {
		return fmt.Sprintf(`
dryRun: %t
operation: DELETE
oldObject:
  apiVersion: gateway.networking.k8s.io/v1
  kind: Gateway
  metadata: {name: eg, namespace: enforced}
  spec:
    gatewayClassName: eg
    listeners: [{name: http, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: All}}}]
`, dryRun)
	}
	const breakGlass = "gatehouse.dev/break-glass: incident"
	all := func(dryRun bool) (answers []string) {
		for _, text := range []string{
			route("enforced", "", dryRun), route("warned", "", dryRun), route("enforced", breakGlass, dryRun), deletion(dryRun),
		} {
			answers = append(answers, told(s.ask(t, []byte(text))))
		}
		return answers
	}
	before, tables := telling(t, metrics), shown(t, world)
	dry := all(true)
	if diff := cmp.Diff(before, telling(t, metrics)); diff != "" {
		t.Errorf("metrics tell of dry runs (-before +after):\n%s", diff)
	}
	if lines := found.take(); len(lines) > 0 {
		t.Errorf("something tells of dry runs:\n%s", strings.Join(lines, ""))
	}
	if now := shown(t, world); now != tables {
		t.Errorf("the tables were %s and are %s", tables, now)
	}

	// The same requests tell of themselves otherwise, with the same answers.
	if diff := cmp.Diff(all(false), dry); diff != "" {
		t.Errorf("answers (-not dry +dry):\n%s", diff)
	}
	lines := strings.Join(found.take(), "")
	for _, part := range []string{wouldDeny, "Event BreakGlass", "severity audit", "is overruled by the annotation"} {
		if !strings.Contains(lines, part) {
			t.Errorf("nothing says %q:\n%s", part, lines)
		}
	}
	after := telling(t, metrics)
	for _, name := range []string{"problems_total", "break_glass_total", "rule_findings_total"} {
		changed := false
		for series, n := range after {
			changed = changed || strings.Contains(series, name) && n > before[series]
		}
		if !changed {
			t.Errorf("metric %s does not change: %v", name, after)
		}
	}
}

// shown is all that takes effect, as text.
func shown(t *testing.T, world *translator.World) string {
	t.Helper()
	all, err := world.Effective(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
