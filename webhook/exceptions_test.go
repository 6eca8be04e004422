package webhook

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/translator"
)

func exceptionOf(name, rule string, expires time.Time) *rulesv1alpha1.AdmissionException {
	e := &rulesv1alpha1.AdmissionException{
		TypeMeta: metav1.TypeMeta{
			APIVersion: rulesv1alpha1.GroupVersion.String(), Kind: rulesv1alpha1.KindAdmissionException,
		},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
	}
	e.Spec = rulesv1alpha1.AdmissionExceptionSpec{
		Rules: []string{rule}, Owner: "jane", Reason: "a test", Expires: metav1.NewTime(expires),
		Targets: []rulesv1alpha1.ExceptionTarget{{Kind: "HTTPRoute", Name: "a"}},
	}
	return e
}

// TestExceptionFromANewRule: a rule that no cache has yet can have exceptions, and so can one that has just begun to
// allow them. Of a rule that does not exist, or not any more, there is a warning.
func TestExceptionFromANewRule(t *testing.T) {
	allowing := func(name string) *rulesv1alpha1.AdmissionRule {
		rule := ruleOf(t, name, "true")
		rule.Spec.Exceptions = rulesv1alpha1.ExceptionsAllowed
		return rule
	}
	book := NewRuleBook(RuleOptions{
		Live: stored([]translator.Object{allowing("new"), allowing("changed")}), Log: testr.New(t),
	})
	book.Put(ruleOf(t, "changed", "true"))
	book.Put(ruleOf(t, "deleted", "true"))
	for rule, warnings := range map[string]int{"new": 0, "changed": 0, "none": 1, "deleted": 1} {
		raw, err := json.Marshal(exceptionOf("a", rule, time.Now().Add(365*24*time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		request := &admissionv1.AdmissionRequest{Operation: admissionv1.Create}
		request.Kind.Group, request.Kind.Kind = rulesv1alpha1.GroupName, rulesv1alpha1.KindAdmissionException
		request.Object.Raw = raw
		if answer, err := book.review(t.Context(), request); err != nil || !answer.Allowed || len(answer.Warnings) != warnings {
			t.Errorf("an exception from rule %s is answered %v, %v", rule, answer, err)
		}
	}
}

// TestExceptionsAreCounted: the metric counts exceptions by their state, which changes with time, and has no series of
// rules that do not exist.
func TestExceptionsAreCounted(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	metrics := prometheus.NewPedanticRegistry()
	book := NewRuleBook(RuleOptions{Log: testr.New(t), Now: func() time.Time { return now }, Metrics: metrics})
	book.Put(ruleOf(t, "hostnames", "true"))
	book.PutException(exceptionOf("a", "hostnames", now.Add(15*24*time.Hour)))
	book.PutException(exceptionOf("b", "hostnames", now.Add(15*24*time.Hour)))
	book.PutException(exceptionOf("c", "none", now.Add(15*24*time.Hour)))
	counts := func(state string, n float64) {
		t.Helper()
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range families {
			for _, m := range f.GetMetric() {
				line := f.GetName()
				for _, l := range m.GetLabel() {
					line += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
				}
				got = append(got, fmt.Sprintf("%s: %g", line, m.GetGauge().GetValue()))
			}
		}
		want := []string{fmt.Sprintf("gatehouse_admission_exceptions rule=hostnames state=%s: %g", state, n)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	counts("effective", 2)
	now = now.Add(24 * time.Hour)
	counts("ends_soon", 2)
	now = now.Add(14 * 24 * time.Hour)
	counts("expired", 2)
	book.DeleteException("shop", "a")
	counts("expired", 1)
}
