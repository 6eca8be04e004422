package admissionrule

import (
	"reflect"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"gatehouse/api/patching"
	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/verdict"
)

// FuzzRule: a rule with any expressions compiles or has a problem, and its evaluation ends within its cost limits.
func FuzzRule(f *testing.F) {
	long := strings.Repeat("a", 5000)
	for _, expression := range []string{
		"true", "object.spec.hostnames.all(h, h.endsWith(variables.v))", "1 +", "variables.v.matches('(a+)+$')",
		"object.spec.x.matches('" + strings.Repeat("(a{100})", 50) + "{100}')", "'" + long + "'.matches('(a?){500}')",
		strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300), strings.Repeat("!", 300) + "true", strings.Repeat("[", 200),
		"[1,2,3,4].all(a, [1,2,3,4].all(b, [1,2,3,4].all(c, [1,2,3,4].all(d, [1,2,3,4].all(e, a+b+c+d+e > 0)))))",
		"object == oldObject", "request.userInfo.username == namespaceObject.metadata.name", "quantity('1Gi').isGreaterThan(quantity('1'))",
		"[JSONPatch{op: 'add', path: '/spec/x', value: 1u}]", "[JSONPatch{op: 'copy', from: '/spec', path: '/spec/x'}, JSONPatch{op: 'copy', from: '/spec', path: '/spec/x/x'}]",
		"[JSONPatch{op: 'add', path: '/spec/rules/-', value: timestamp('2026-01-01T00:00:00Z')}]", "[JSONPatch{op: 'remove', path: '/metadata'}]",
		"Object{spec: Object.spec{hostnames: [1u, 2.5, b'a', null], x: duration('1s')}}", "Object{spec: Object.spec{parentRefs: [[[]]], rules: {1: 2}}}",
		"Object{metadata: Object.metadata{labels: {'a': 'b'}, finalizers: ['a', 'a']}}", "object", "Object{spec: object.spec}", "Object{}",
		"ip('10.0.0.1').family() == 4", "url('https://a').getHost() == ''", "dyn(object).metadata.labels['a'] == object.kind",
	} {
		f.Add(expression, "variables.v + variables.v", `{"spec":{"hostnames":["a","b"],"x":"`+long+`"}}`)
		f.Add("variables.w == ''", expression, `{"spec":[[[[1]]]]}`)
	}
	schemas := crds(f)
	resource, _ := ResourceOf(runtimeschema.GroupKind{Group: gatewayGroup, Kind: "HTTPRoute"})
	none := func(runtimeschema.GroupVersionKind) *schema.Structural { return nil }
	f.Fuzz(func(t *testing.T, expression, message, object string) {
		in := &Input{Resource: resource, Request: &admissionv1.AdmissionRequest{Operation: admissionv1.Update}}
		if utiljson.Unmarshal([]byte(object), &in.Object) != nil {
			return
		}
		in.OldObject = in.Object
		for _, known := range []Schemas{schemas, none} {
			in.Form, in.Patch = formOf(in, known), patching.Patch
			mutates(t, expression, known, in)
			rule, problems, err := Compile(t.Context(), anyRule(expression, message), known)
			if err != nil {
				t.Fatal(err)
			}
			if rule == nil {
				if len(problems) == 0 {
					t.Error("a rule cannot be evaluated and nothing says why")
				}
				mustSay(t, problems)
				continue
			}
			findings, err := rule.Judge(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range findings {
				mustSay(t, []verdict.Problem{found.Problem})
			}
		}
	})
}

// mutates compiles an expression as the mutation of a rule with both patch types. What it makes of the object, it makes of
// the result too, and the object of the request stays as it was.
func mutates(t *testing.T, expression string, known Schemas, in *Input) {
	t.Helper()
	text := &rulesv1alpha1.MutationExpression{Expression: expression}
	for _, m := range []rulesv1alpha1.Mutation{
		{PatchType: rulesv1alpha1.PatchTypeJSONPatch, JSONPatch: text}, {PatchType: rulesv1alpha1.PatchTypeApplyConfiguration, ApplyConfiguration: text},
	} {
		source := anyRule("true", "'a'")
		source.Spec.Mutations = []rulesv1alpha1.Mutation{m}
		rule, problems, err := Compile(t.Context(), source, known)
		if err != nil {
			t.Fatal(err)
		}
		mustSay(t, problems)
		if rule == nil {
			continue
		}
		before := runtime.DeepCopyJSON(in.Object)
		once, err := Mutate(t.Context(), []*Rule{rule}, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range once.Findings {
			mustSay(t, []verdict.Problem{found.Problem})
		}
		again, err := Mutate(t.Context(), []*Rule{rule}, in.with(once.Object))
		if err != nil || len(once.Changes) > 0 && len(again.Changes) > 0 || !reflect.DeepEqual(before, in.Object) {
			t.Errorf("%v: once %v, again %v", err, once.Changes, again.Changes)
		}
	}
}

// mustSay checks that each problem has one line.
func mustSay(t *testing.T, problems []verdict.Problem) {
	t.Helper()
	for _, p := range problems {
		if p.Message == "" || strings.Contains(p.Message, "\n") {
			t.Errorf("a problem is not one line: %q", p.Message)
		}
	}
}

func anyRule(expression, message string) *rulesv1alpha1.AdmissionRule {
	rule := &rulesv1alpha1.AdmissionRule{}
	rule.Name = "any"
	rule.Spec.MatchConstraints.ResourceRules = []rulesv1alpha1.ResourceRule{{
		APIGroups: []string{gatewayGroup}, APIVersions: []string{"*"}, Resources: []string{"httproutes"}, Operations: []rulesv1alpha1.Operation{"*"},
	}}
	rule.Spec.Variables = []rulesv1alpha1.Variable{
		{Name: "v", Expression: "'" + strings.Repeat("a", 100) + "'"}, {Name: "w", Expression: "variables.v + variables.v"},
	}
	rule.Spec.Validations = []rulesv1alpha1.Validation{{Expression: expression, MessageExpression: message}}
	return rule
}
