package e2e

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// brokenRoute is what admission refuses wherever it can.
const brokenRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: broken, namespace: default}
spec:
  parentRefs: [{name: eg}]
  rules: [{matches: [{path: {type: RegularExpression, value: "/(?=a)"}}]}]
`

// TestAdmissionWhileReplicasGo: while replicas of the control plane are replaced, scaled and deleted, each broken
// object is refused for what is broken: none is let through because nobody was there to judge it, and nobody is told of
// a webhook that did not answer.
func TestAdmissionWhileReplicasGo(t *testing.T) {
	refused := func() error {
		out, err := kubectlOf(brokenRoute, "create", "--dry-run=server", "--validate=false", "-f", "-")
		if err == nil {
			return fmt.Errorf("admitted: %s", out)
		}
		if !strings.Contains(out, "regular expression") {
			return fmt.Errorf("refused for another reason: %s", out)
		}
		return nil
	}
	if err := refused(); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	end := make(chan struct{})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				asked.Add(1)
				if err := refused(); err != nil {
					t.Errorf("%s: %v", time.Now().Format(time.TimeOnly), err)
				}
			}
		})
	}
	do := func(args ...string) {
		out, err := kubectl(append([]string{"-n", "gatehouse-system"}, args...)...)
		must(t, out, err)
		out, err = kubectl("rollout", "status", "-n", "gatehouse-system", "deployment/gatehouse", "--timeout=60s")
		must(t, out, err)
		lives(t) // Until those that leave have gone.
	}
	t.Cleanup(func() { do("scale", "deployment/gatehouse", "--replicas=1") })
	do("rollout", "restart", "deployment/gatehouse")
	do("scale", "deployment/gatehouse", "--replicas=3")
	do("rollout", "restart", "deployment/gatehouse")
	do("scale", "deployment/gatehouse", "--replicas=1")
	close(end)
	all.Wait()
	t.Logf("%d broken objects refused", asked.Load())
}
