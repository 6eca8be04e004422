package controller

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/controller/kube"
	"gatehouse/infra/kubetest"
)

// TestStatusOfRules: the condition Accepted says whether a rule is in effect, and what is wrong with it, for the current
// generation.
func TestStatusOfRules(t *testing.T) {
	c := server.Client(t)
	var audited atomic.Pointer[rulesv1alpha1.RuleAudit]
	statuses := NewRuleStatuses(c, kube.Schemas(c), func(rule string) (*rulesv1alpha1.RuleAudit, bool) {
		return audited.Load(), rule == "fine"
	}, logr.Discard())
	rule := func(name, expression string) *rulesv1alpha1.AdmissionRule {
		r := &rulesv1alpha1.AdmissionRule{ObjectMeta: metav1.ObjectMeta{Name: name}}
		r.Spec.MatchConstraints.ResourceRules = []rulesv1alpha1.ResourceRule{{
			APIGroups: []string{"gateway.networking.k8s.io"}, APIVersions: []string{"v1"}, Resources: []string{"httproutes"},
			Operations: []rulesv1alpha1.Operation{"CREATE"},
		}}
		r.Spec.Validations = []rulesv1alpha1.Validation{{Expression: expression}}
		if err := c.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	has := func(r *rulesv1alpha1.AdmissionRule, status metav1.ConditionStatus, reason, message string) func() error {
		return func() error {
			now := &rulesv1alpha1.AdmissionRule{}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(r), now); err != nil {
				return err
			}
			if len(now.Status.Conditions) == 1 {
				got := now.Status.Conditions[0]
				if got.Status == status && got.Reason == reason && got.Message == message && got.ObservedGeneration == now.Generation {
					return nil
				}
			}
			return fmt.Errorf("AdmissionRule %s has conditions %+v", r.Name, now.Status.Conditions)
		}
	}
	// One rule is there before, the others come while this replica leads.
	fine := rule("fine", "has(object.spec.hostnames)")
	kubetest.Start(t, func(ctx context.Context) error { return statuses.Start(ctx) })
	within(t, has(fine, metav1.ConditionTrue, "Accepted", ""))
	broken, lost := rule("broken", "object.spec ="), rule("lost", "object.spec.hostnams == []")
	statuses.SeenRule(broken.Name)
	statuses.SeenRule(lost.Name)
	within(t, has(broken, metav1.ConditionFalse, "Invalid",
		"spec.validations[0].expression: line 1, column 13: Syntax error: token recognition error at: '=': correct the expression"))
	within(t, has(lost, metav1.ConditionTrue, "AcceptedWithErrors",
		"spec.validations[0].expression: line 1, column 12: undefined field 'hostnams', for kind HTTPRoute: correct the expression"))
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(broken), broken); err != nil {
		t.Fatal(err)
	}
	broken.Spec.Validations[0].Expression = "true"
	if err := c.Update(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	statuses.SeenRule(broken.Name)
	within(t, has(broken, metav1.ConditionTrue, "Accepted", ""))

	// What violates the rule is written beside the condition.
	want := &rulesv1alpha1.RuleAudit{ObservedGeneration: 1, Judged: 7, Violations: 1, First: []rulesv1alpha1.RuleViolation{{
		Kind: "HTTPRoute", Namespace: "n", Name: "a", Field: "spec.hostnames", Message: "write one",
	}}}
	for _, want := range []*rulesv1alpha1.RuleAudit{want, nil} {
		audited.Store(want)
		statuses.SeenRule(fine.Name)
		within(t, func() error {
			now := &rulesv1alpha1.AdmissionRule{}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(fine), now); err != nil {
				return err
			}
			if diff := cmp.Diff(want, now.Status.Audit); diff != "" || len(now.Status.Conditions) != 1 {
				return fmt.Errorf("the results (-want +got):\n%s\n%v", diff, now.Status.Conditions)
			}
			return nil
		})
	}
}

// TestStatusOfExceptions: the condition Effective says whether an exception is in effect, and when that ends.
func TestStatusOfExceptions(t *testing.T) {
	c := server.Client(t)
	statuses := NewRuleStatuses(c, kube.Schemas(c), func(string) (*rulesv1alpha1.RuleAudit, bool) { return nil, false },
		logr.Discard())
	rule := &rulesv1alpha1.AdmissionRule{ObjectMeta: metav1.ObjectMeta{Name: "with-exceptions"}}
	rule.Spec.Exceptions = rulesv1alpha1.ExceptionsAllowed
	rule.Spec.MatchConstraints.ResourceRules = []rulesv1alpha1.ResourceRule{{
		APIGroups: []string{"gateway.networking.k8s.io"}, APIVersions: []string{"v1"}, Resources: []string{"httproutes"},
		Operations: []rulesv1alpha1.Operation{"CREATE"},
	}}
	rule.Spec.Validations = []rulesv1alpha1.Validation{{Expression: "true"}}
	exception := func(name, rule string, left time.Duration) *rulesv1alpha1.AdmissionException {
		e := &rulesv1alpha1.AdmissionException{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		e.Spec = rulesv1alpha1.AdmissionExceptionSpec{
			Rules: []string{rule}, Owner: "jane", Reason: "a test", Expires: metav1.NewTime(time.Now().Add(left)),
			Targets: []rulesv1alpha1.ExceptionTarget{{Kind: "HTTPRoute", Name: "a"}},
		}
		if err := c.Create(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	has := func(e *rulesv1alpha1.AdmissionException, status metav1.ConditionStatus, reason string) func() error {
		return func() error {
			now := &rulesv1alpha1.AdmissionException{}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(e), now); err != nil {
				return err
			}
			if len(now.Status.Conditions) == 1 {
				got := now.Status.Conditions[0]
				if got.Status == status && got.Reason == reason && got.ObservedGeneration == now.Generation {
					return nil
				}
			}
			return fmt.Errorf("AdmissionException %s has conditions %+v", e.Name, now.Status.Conditions)
		}
	}
	const day = 24 * time.Hour
	fine, soon, over := exception("fine", rule.Name, 30*day), exception("soon", rule.Name, day), exception("over", rule.Name, -day)
	kubetest.Start(t, func(ctx context.Context) error { return statuses.Start(ctx) })
	within(t, has(fine, metav1.ConditionFalse, "RuleNotFound"))
	if err := c.Create(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	statuses.SeenRule(rule.Name)
	within(t, has(fine, metav1.ConditionTrue, "Effective"))
	within(t, has(soon, metav1.ConditionTrue, "ExpiresSoon"))
	within(t, has(over, metav1.ConditionFalse, "Expired"))
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(rule), rule); err != nil { // Its status was written.
		t.Fatal(err)
	}
	rule.Spec.Exceptions = rulesv1alpha1.ExceptionsForbidden
	if err := c.Update(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	statuses.SeenRule(rule.Name)
	within(t, has(fine, metav1.ConditionFalse, "NotAllowed"))
}
