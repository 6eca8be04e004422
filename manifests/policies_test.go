package manifests

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"gatehouse/policies/rules"
	"gatehouse/policies/verdict"
)

// TestPoliciesHoldWithoutTheWebhook gives the objects of all goldens of the rules to an API server that has the chart's
// policies and no webhook. It denies those that the rules find invalid, with the message of the rule, and admits the
// others.
func TestPoliciesHoldWithoutTheWebhook(t *testing.T) {
	c := server.Client(t)
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	installPolicies(t, c)
	archives, err := filepath.Glob("../policies/rules/testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no goldens of rules: %v", err)
	}
	denied := map[string]bool{}
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if filepath.Ext(f.Name) != ".yaml" {
				continue
			}
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(f.Data, object); err != nil {
				t.Fatal(err)
			}
			var invalid []verdict.Problem
			for _, p := range engine.Check(object) {
				if p.Weight == verdict.Invalid {
					invalid = append(invalid, p)
				}
			}
			err := c.Create(t.Context(), object, client.DryRunAll)
			switch {
			case len(invalid) == 0 && err != nil:
				t.Errorf("%s, %s: the rules find nothing, and the API server denies: %v", name, f.Name, err)
			case len(invalid) > 0 && err == nil:
				t.Errorf("%s, %s: the API server admits what is invalid: %v", name, f.Name, invalid)
			case len(invalid) > 0 && strings.Contains(err.Error(), "ValidatingAdmissionPolicy"):
				denied[name] = true
				said := func(p verdict.Problem) bool { return strings.Contains(err.Error(), p.Message) }
				if !slices.ContainsFunc(invalid, said) {
					t.Errorf("%s, %s: the API server says %v, want a message of %v", name, f.Name, err, invalid)
				}
			}
		}
		if !denied[name] {
			t.Errorf("%s: no object of it is denied by a policy", name)
		}
	}
}

// TestPoliciesLeaveAloneWhatIsStored: an object that violates a rule already can be changed, and warned of is not
// denied.
func TestPoliciesLeaveAloneWhatIsStored(t *testing.T) {
	c := server.Client(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "warned-", Labels: map[string]string{"gatehouse.dev/admission": "warn"},
	}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	installPolicies(t, c)
	object := invalidGateway()
	object.SetNamespace(namespace.Name)
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatalf("at level warn: %v", err)
	}
	stricter := namespace.DeepCopy()
	stricter.Labels["gatehouse.dev/admission"] = "strict"
	if err := c.Patch(t.Context(), stricter, client.MergeFrom(namespace)); err != nil {
		t.Fatal(err)
	}
	another := invalidGateway()
	another.SetNamespace(namespace.Name)
	another.SetName("another")
	waitForDenial(t, c, another)
	changed := object.DeepCopy()
	changed.SetLabels(map[string]string{"changed": "true"})
	if err := c.Update(t.Context(), changed); err != nil {
		t.Errorf("a change of what was invalid before: %v", err)
	}
}

// installPolicies installs the chart's policies, and waits until they are in effect.
func installPolicies(t *testing.T, c client.Client) {
	t.Helper()
	for _, obj := range decode(t, helmTemplate(t, "gatehouse")) {
		switch obj := obj.(type) {
		case *admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding:
			o := obj.(client.Object)
			if err := c.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			deleteAfter(t, c, o)
		}
	}
	object := invalidGateway()
	object.SetNamespace("default")
	waitForDenial(t, c, object)
}

func waitForDenial(t *testing.T, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	var err error
	for range 300 { // The API server hears of policies and labels after a moment.
		err = c.Create(t.Context(), object.DeepCopy(), client.DryRunAll)
		if err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("an invalid object: %v", err)
}

// invalidGateway has a value that no rule lets pass.
func invalidGateway() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	text := `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: web, annotations: {gatehouse.dev/scoped-routes: "True"}},
spec: {gatewayClassName: none, listeners: [{name: web, protocol: HTTP, port: 80}]}}`
	if err := yaml.Unmarshal([]byte(text), object); err != nil {
		panic(err)
	}
	return object
}
