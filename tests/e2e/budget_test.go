package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// retryBudget limits the retries of requests to a Service, which it names.
const retryBudget = `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: budget}
spec:
  targetRefs: [{group: "", kind: Service, name: %s}]
  retryConstraint: {budget: {percent: 20, interval: 10s}, minRetryRate: {count: 3, interval: 1s}}
`

// TestRetryBudgets: XBackendTrafficPolicies are left alone until the operator switches the kind on. Then they are
// judged at admission, have a status, and limit the retries of the clusters that Envoys have.
func TestRetryBudgets(t *testing.T) {
	s := newScene(t, "budget")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("r", "budget.example.com"),
		fmt.Sprintf(retryBudget, "a"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET budget.example.com/", http.StatusOK)
	if status := s.kubectl(t, "get", "xbackendtrafficpolicy/budget", "-o", "jsonpath={.status}"); status != "" {
		t.Errorf("the policy has a status although its kind is off: %s", status)
	}

	t.Cleanup(func() { reconfigure(t, "gatewayAPI=null") })
	reconfigure(t, "gatewayAPI.enabled={XBackendTrafficPolicy}")
	s.becomes(t, "xbackendtrafficpolicy/budget", condition(".status.ancestors[0]", "Accepted"), "True")
	s.apply(t, strings.Replace(fmt.Sprintf(retryBudget, "a"), "percent: 20", "percent: 30", 1))
	out, err := s.tryApply(strings.Replace(fmt.Sprintf(retryBudget, "none"), "name: budget", "name: lost", 1))
	if must(t, out, err); !strings.Contains(out, `Warning: spec.targetRefs[0]`) {
		t.Errorf("a policy for a Service that is not there is not warned of: %s", out)
	}
	eventually(t, "Envoy has the budget", func() error {
		config, err := kubectl("exec", "-n", "gatehouse-system", namesOf(t, s, "pod"), "-c", "envoy", "--", "curl", "-s",
			"http://127.0.0.1:19000/config_dump")
		if err == nil && !strings.Contains(config, "retry_budget") {
			err = errors.New("no cluster of it has one")
		}
		return err
	})
}
