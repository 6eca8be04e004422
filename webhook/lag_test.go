package webhook

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

func missingService(name string) translator.Finding {
	return translator.Finding{Object: own, Problem: verdict.Absent("spec",
		verdict.Ref{Kind: "Service", Namespace: "default", Name: name}, "BackendNotFound")}
}

// TestComesInTime checks that there is no warning about what is stored while the verdict waits, and one about what is
// not.
func TestComesInTime(t *testing.T) {
	asked := map[string]int{}
	exists := func(_ context.Context, ref verdict.Ref) (bool, error) {
		asked[ref.Name]++
		return ref.Name == "late" && asked[ref.Name] > 2, nil
	}
	s := serve(t, Options{Trier: says(missingService("late"), missingService("never")), Exists: exists})
	got := s.post(t, ValidatePath, httpRoute())
	if len(got.Warnings) != 1 || got.Warnings[0] != `spec: no Service "never" in namespace "default": create it or correct the name` {
		t.Errorf("got %q", got.Warnings)
	}
	if asked["late"] != 3 || asked["never"] != 1+glances {
		t.Errorf("looked up %v", asked)
	}
}

// TestWaitingLeavesTheTurn checks that requests that wait for something missing do not keep others from being judged,
// and that they get their answers.
func TestWaitingLeavesTheTurn(t *testing.T) {
	const many = maxJudged + 2
	var asked sync.Map
	waiting, proceed := make(chan struct{}, many), make(chan struct{})
	exists := func(_ context.Context, ref verdict.Ref) (bool, error) {
		if _, again := asked.LoadOrStore(ref.Name, true); !again {
			return false, nil
		}
		waiting <- struct{}{}
		<-proceed
		return true, nil
	}
	trier := TrierFunc(func(_ context.Context, o client.Object) ([]translator.Finding, error) {
		if o.GetName() == "fine" {
			return nil, nil
		}
		return []translator.Finding{missingService(o.GetName())}, nil
	})
	s := serve(t, Options{Trier: trier, Exists: exists})
	named := func(name string) *admissionv1.AdmissionReview {
		in := review(nil)
		in.Request = httpRoute()
		in.Request.Object.Raw = []byte(`{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"` +
			name + `"}}`)
		return in
	}
	codes := make(chan int, many)
	for i := range many {
		go func() {
			code, _ := s.send(t, ValidatePath, named(fmt.Sprint(i)))
			codes <- code
		}()
	}
	for range many {
		<-waiting // More of them than there are turns.
	}
	if got := s.post(t, ValidatePath, named("fine").Request); !got.Allowed {
		t.Errorf("another request gets %v", got)
	}
	close(proceed)
	for range many {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("a request that has waited gets status %d", code)
		}
	}
}
