package withenvoy

import (
	"net/http"
	"sync"
	"testing"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"
)

// TestRetryBudget sends concurrent requests that all fail and should be tried again: with a budget of one retry at a
// time, some are not.
func TestRetryBudget(t *testing.T) {
	c := startTranslated(t, false)
	c.apply(c.behind("fails", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond) // So that they overlap.
		w.WriteHeader(http.StatusServiceUnavailable)
	}))...)
	failing := at(gwapiv1.PathMatchPathPrefix, "/fails")
	failing.BackendRefs[0].Name, failing.Retry = "fails",
		&gwapiv1.HTTPRouteRetry{Codes: []gwapiv1.HTTPRouteRetryStatusCode{503}, Attempts: new(1)}
	route := c.route("a.example.com", nil)
	route.Spec.Rules = append(route.Spec.Rules, failing)
	c.apply(route)
	c.reaches("/")
	together := func() {
		t.Helper()
		var all sync.WaitGroup
		for range 30 {
			all.Go(func() {
				if got := exchange(t, http.MethodGet, "/fails").StatusCode; got != http.StatusServiceUnavailable {
					t.Errorf("got %d, want 503", got)
				}
			})
		}
		all.Wait()
	}
	together()
	if n := c.stat("cluster.service/shop/fails/80.upstream_rq_retry_overflow"); n != 0 {
		t.Errorf("%d retries were not made without a budget", n)
	}
	policy := &gwapixv1alpha1.XBackendTrafficPolicy{ObjectMeta: c.meta("fails")}
	policy.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReference{{Kind: "Service", Name: "fails"}}
	policy.Spec.RetryConstraint = &gwapixv1alpha1.RetryConstraint{
		Budget: &gwapixv1alpha1.BudgetDetails{Percent: new(0)}, MinRetryRate: &gwapixv1alpha1.RequestRate{
			Count:    new(1),
			Interval: new(gwapiv1.Duration("1h")),
		},
	}
	c.apply(policy)
	c.quiet()
	together()
	if n := c.stat("cluster.service/shop/fails/80/[0-9a-f]+.upstream_rq_retry_overflow"); n < 1 {
		t.Errorf("%d retries were not made with a budget", n)
	}
}
