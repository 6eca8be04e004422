package admissionrule

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
)

// wide is a rule about all kinds with some validations.
func wide(validations int, expression string) *rulesv1alpha1.AdmissionRule {
	rule := &rulesv1alpha1.AdmissionRule{}
	rule.Name = "wide"
	rule.Spec.MatchConstraints.ResourceRules = []rulesv1alpha1.ResourceRule{{
		APIGroups: []string{gatewayGroup, envoyGroup, experimentalGroup}, APIVersions: []string{"*"},
		Resources: []string{"*"}, Operations: []rulesv1alpha1.Operation{"*"},
	}}
	for range validations {
		rule.Spec.Validations = append(rule.Spec.Validations, rulesv1alpha1.Validation{Expression: expression})
	}
	return rule
}

// TestCompileEndsWithItsContext: once nobody waits any longer, no further kind and no further expression is compiled.
func TestCompileEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	schemas := func(runtimeschema.GroupVersionKind) *schema.Structural {
		if asked++; asked == 2 {
			cancel()
		}
		whole := object(nil)
		return &whole
	}
	rule, problems, err := Compile(ctx, wide(1, "object.nothing == 1"), schemas)
	if rule != nil || problems != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("a rule that nobody waits for is answered %v, %v, %v", rule, problems, err)
	}
	if asked != 2 {
		t.Errorf("%d kinds were looked up, although nobody waited after 2", asked)
	}
	late := &counted{Context: t.Context(), left: 3}
	if _, _, err := Compile(late, wide(64, "1 +"), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a deadline between two expressions is answered %v", err)
	}
}

// counted is a context that ends after it was asked some times.
type counted struct {
	context.Context
	left int
}

func (c *counted) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// TestHugeRules: a rule with more expressions than fit is refused before one of them is compiled.
func TestHugeRules(t *testing.T) {
	rule := wide(4, "true"+strings.Repeat(" ", maxText/4-len("true")))
	if _, problems, err := Compile(t.Context(), rule, nil); err != nil || len(problems) > 0 {
		t.Errorf("a rule that fits is answered %v, %v", problems, err)
	}
	rule.Spec.Validations[0].MessageExpression = "1"
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, problems, err := Compile(ended, rule, nil)
	const want = "spec: the expressions have 131073 bytes together, and a rule can have 131072: make several rules of it"
	if err != nil || len(problems) != 1 || problems[0].String() != want || !Refused(problems) {
		t.Errorf("a rule that does not fit is answered %v, %v", problems, err)
	}
}
