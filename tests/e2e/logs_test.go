package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// keepLogs writes what the control plane, the Envoys and the cluster's own processes said, with the objects they spoke
// of, to a file that outlives the cluster.
func keepLogs() {
	file, err := os.CreateTemp("", "gatehouse-e2e-*.log")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: keep the logs:", err)
		return
	}
	defer file.Close()
	section := func(title, text string) { fmt.Fprintf(file, "======== %s\n%s\n", title, text) }
	for _, args := range [][]string{
		{"get", "gateways,httproutes,backendtrafficpolicies,securitypolicies,envoyproxies", "-A", "-o", "yaml"},
		{"get", "pods,services,endpointslices", "-A", "-o", "wide"},
		{"get", "events", "-A"},
	} {
		out, _ := kubectl(args...) // An error is in what kubectl printed.
		section("kubectl "+strings.Join(args, " "), out)
	}
	for _, namespace := range []string{"gatehouse-system", "cert-manager", "acme"} {
		pods, _ := kubectl("get", "pods", "-n", namespace, "-o", "name", "--ignore-not-found")
		for pod := range strings.FieldsSeq(pods) {
			out, _ := kubectl("logs", "-n", namespace, pod, "--all-containers", "--tail=500")
			section(pod, out)
		}
	}
	logs, _ := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"),
			func(line string) bool { return strings.Contains(line, "rejected by webhook") })
		section(log, strings.Join(lines, ""))
	}
	fmt.Fprintln(os.Stderr, "e2e: the logs are in", file.Name())
}
