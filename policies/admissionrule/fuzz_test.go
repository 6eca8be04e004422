package admissionrule

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

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
