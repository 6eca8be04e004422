package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestTwoReplicas: proxies connect to either replica, and each Gateway becomes Programmed although only the leader
// writes. When the leader goes, the other one takes over.
func TestTwoReplicas(t *testing.T) {
	scale := func(n int) {
		out, err := kubectl("scale", "deployment", "gatehouse", "-n", "gatehouse-system", fmt.Sprintf("--replicas=%d", n))
		must(t, out, err)
		out, err = kubectl("rollout", "status", "-n", "gatehouse-system", "deployment/gatehouse", "--timeout=60s")
		must(t, out, err)
		lives(t) // Later tests shall find one that stays.
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
	// With two, admission fails closed, since the self-test passes too where only the API server is answered.
	eventually(t, "failurePolicy is Fail", func() error {
		out, err := kubectl("get", "validatingwebhookconfiguration", "gatehouse", "-o",
			"jsonpath={.webhooks[0].failurePolicy}")
		if err == nil && out != "Fail" {
			err = fmt.Errorf("it is %s", out)
		}
		return err
	})
	holder, err := kubectl("get", "lease", "gatehouse-leader", "-n", "gatehouse-system", "-o",
		"jsonpath={.spec.holderIdentity}")
	must(t, holder, err)
	leader, _, _ := strings.Cut(holder, "_") // The pod, then where it is reached.
	// A proxy connects to either replica by chance, so there are new ones until the follower has one at least.
	for i := 0; i == 0 || servedByFollowers(t, leader) == 0; i++ {
		if i == 20 {
			t.Fatal("20 new Envoys in a row have connected to the leader")
		}
		programmed(fmt.Sprintf("replica-%d", i))
	}
	out, err := kubectl("delete", "pod", "-n", "gatehouse-system", leader)
	must(t, out, err)
	programmed("replica-after")
}

// servedByFollowers counts the Envoys that get their configuration from a replica which is not the leader.
func servedByFollowers(t *testing.T, leader string) (streams int) {
	t.Helper()
	pods, err := kubectl("get", "pods", "-n", "gatehouse-system", "-l", controlPlane, "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}`)
	must(t, pods, err)
	for line := range strings.Lines(pods) {
		name, ip, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == leader || ip == "" {
			continue
		}
		out, err := inside("curl", "-s", "http://"+ip+":19001/metrics")
		must(t, out, err)
		for line := range strings.Lines(out) {
			if n, ok := strings.CutPrefix(line, "gatehouse_xds_streams "); ok {
				if count, err := strconv.Atoi(strings.TrimSpace(n)); err == nil {
					streams += count
				}
			}
		}
	}
	return streams
}
