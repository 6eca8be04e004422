package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestTwoReplicas: proxies connect to either replica, and each Gateway becomes Programmed although only the leader writes. When the
// leader goes, the other one takes over.
func TestTwoReplicas(t *testing.T) {
	scale := func(n int) {
		out, err := kubectl("scale", "deployment", "gatehouse", "-n", "gatehouse-system", fmt.Sprintf("--replicas=%d", n))
		must(t, out, err)
		out, err = kubectl("rollout", "status", "-n", "gatehouse-system", "deployment/gatehouse", "--timeout=60s")
		must(t, out, err)
	}
	scale(2)
	t.Cleanup(func() { scale(1) })
	programmed := func(names ...string) {
		for _, name := range names {
			out, err := apply(fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %s, namespace: default}
spec:
  gatewayClassName: eg
  listeners: [{name: http, protocol: HTTP, port: 80}]
`, name))
			must(t, out, err)
			t.Cleanup(func() { _, _ = kubectl("delete", "gateway", name) }) // The cluster goes anyway.
		}
		for _, name := range names {
			out, err := kubectl("wait", "--for=condition=Programmed", "--timeout=60s", "gateway/"+name)
			must(t, out, err)
		}
	}
	programmed("replica-a", "replica-b", "replica-c", "replica-d")
	holder, err := kubectl("get", "lease", "gatehouse-leader", "-n", "gatehouse-system", "-o", "jsonpath={.spec.holderIdentity}")
	must(t, holder, err)
	leader, _, _ := strings.Cut(holder, "_") // The pod, then where it is reached.
	out, err := kubectl("delete", "pod", "-n", "gatehouse-system", leader)
	must(t, out, err)
	programmed("replica-e")
}
