package webhook

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/controller/kube"
)

const hostnamesRule = `apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: NAME}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE, UPDATE]}
    namespaceSelector: {matchLabels: {team: shop}}
  validations:
  - expression: EXPRESSION
    fieldPath: spec.hostnames
    message: "write hostnames"
`

func ruleOf(t *testing.T, name, expression string) *rulesv1alpha1.AdmissionRule {
	t.Helper()
	rule := &rulesv1alpha1.AdmissionRule{}
	text := strings.NewReplacer("NAME", name, "EXPRESSION", expression).Replace(hostnamesRule)
	if err := yaml.UnmarshalStrict([]byte(text), rule); err != nil {
		t.Fatal(err)
	}
	return rule
}

// TestRulesOfTheAPIServer: a real API server refuses a rule that does not fit the schemas of its CRDs, and what a rule
// denies, also in a namespace that was just made and in one with level off. What was stored before the rule may be
// changed.
func TestRulesOfTheAPIServer(t *testing.T) {
	c := realCluster(t)
	book := NewRuleBook(RuleOptions{
		Live: c.client, Namespaces: stored(nil), Schemas: kube.Schemas(c.client), Log: testr.New(t),
	})
	s := serve(t, Options{Trier: newWorld(t, nil), Namespaces: c.client, Rules: book})
	c.register(t, s, admissionregv1.Fail)
	user, warnings := c.user(t)
	for name, level := range map[string]string{"shop-off": "off", "shop-on": "enforce"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"team": "shop", LevelLabel: level},
		}}
		if err := c.client.Create(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
	}
	err := user.Create(t.Context(), ruleOf(t, "wrong", "object.spec.hostnams.size() > 0"))
	want := `spec.validations[0].expression: line 1, column 12: undefined field 'hostnams', for kind HTTPRoute: correct the expression`
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("a wrong rule: %v", err)
	}
	before := routeOf(t, "before", "/", "gone")
	before.SetNamespace("shop-on")
	if err := user.Create(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	rule := ruleOf(t, "hostnames", "has(object.spec.hostnames)")
	if err := user.Create(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	book.Put(rule)
	for _, namespace := range []string{"shop-on", "shop-off"} {
		route := routeOf(t, "denied", "/", "gone")
		route.SetNamespace(namespace)
		err := user.Create(t.Context(), route)
		if !apierrors.IsInvalid(err) || !strings.HasSuffix(err.Error(), "denied the request: spec.hostnames: rule hostnames: write hostnames") {
			t.Errorf("in %s: %v", namespace, err)
		}
	}
	warnings.texts = nil
	before.SetLabels(map[string]string{"changed": "yes"})
	if err := user.Update(t.Context(), before); err != nil {
		t.Errorf("what was wrong before: %v", err)
	}
	if said := strings.Join(warnings.texts, "\n"); !strings.Contains(said, "spec.hostnames: rule hostnames: write hostnames (this was so before)") {
		t.Errorf("what was wrong before, warnings:\n%s", said)
	}
	other := routeOf(t, "other", "/", "gone")
	if err := user.Create(t.Context(), other); err != nil {
		t.Errorf("a namespace that the rule does not select: %v", err)
	}
	book.Delete("hostnames")
	route := routeOf(t, "allowed", "/", "gone")
	route.SetNamespace("shop-on")
	if err := user.Create(t.Context(), route); err != nil {
		t.Errorf("after the rule was deleted: %v", err)
	}
}

// TestCountsOfRules: each violation counts once, by rule and outcome, and a dry run does not count.
func TestCountsOfRules(t *testing.T) {
	metrics := prometheus.NewRegistry()
	team := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "shop"}}}
	reader := memory{objects: decode(t, []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {team: shop}}"))}
	book := NewRuleBook(RuleOptions{Live: reader, Namespaces: reader, Metrics: metrics, Log: testr.New(t)})
	for name, severity := range map[string]rulesv1alpha1.Severity{"a": "deny", "b": "warn", "c": "audit"} {
		rule := ruleOf(t, name, "has(object.spec.hostnames)")
		rule.Spec.Severity = severity
		book.Put(rule)
	}
	book.Put(ruleOf(t, "d", "object.spec.none == 1"))
	mutating := ruleOf(t, "e", "true")
	mutating.Spec.Mutations = []rulesv1alpha1.Mutation{{
		PatchType: rulesv1alpha1.PatchTypeJSONPatch,
		JSONPatch: &rulesv1alpha1.MutationExpression{Expression: `[JSONPatch{op: "add", path: "/spec/hostnames", value: ["a.example.com"]}]`},
	}}
	book.Put(mutating)
	for _, dry := range []bool{true, false} {
		raw, err := routeOf(t, "a", "/", "gone").MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		request := &admissionv1.AdmissionRequest{Operation: admissionv1.Create, Namespace: team.Name, Name: "a", DryRun: &dry}
		request.Kind = metav1.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
		request.Object.Raw = raw
		findings, err := book.judge(t.Context(), request, nil)
		if err != nil {
			t.Fatal(err)
		}
		book.say(request, findings)
		mutated, err := book.mutate(t.Context(), request, nil)
		if err != nil {
			t.Fatal(err)
		}
		book.made(request, mutated.Changes)
	}
	families, err := metrics.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d metrics: %v", len(families), err)
	}
	got := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		var name string
		for _, l := range m.GetLabel() { // They are sorted: outcome, rule.
			name += l.GetValue() + " "
		}
		got[name] = m.GetCounter().GetValue()
	}
	want := map[string]float64{"denied a ": 1, "warned b ": 1, "audited c ": 1, "failed d ": 1, "mutated e ": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRulesWithoutTheirNamespace: if a Namespace cannot be read, it is not known which rules apply, so there is no
// verdict.
func TestRulesWithoutTheirNamespace(t *testing.T) {
	book := NewRuleBook(RuleOptions{Live: unreadable{}, Namespaces: unreadable{}, Log: testr.New(t)})
	book.Put(ruleOf(t, "a", "true"))
	raw, err := routeOf(t, "a", "/", "gone").MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	request := &admissionv1.AdmissionRequest{Operation: admissionv1.Create, Namespace: "default", Name: "a"}
	request.Kind = metav1.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
	request.Object.Raw = raw
	if _, err := book.judge(t.Context(), request, nil); err == nil {
		t.Error("there is a verdict")
	}
}

type unreadable struct{ client.Reader }

func (unreadable) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("the API server is gone")
}
