package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// usage is what the control plane has used so far.
type usage struct {
	cpu     float64 // Seconds.
	rss     int64   // Bytes.
	mallocs float64
	writes  map[string]float64 // Successful status writes by kind.
}

// controlPlane reads the control plane's own metrics.
func (b *bench) controlPlane(ctx context.Context) (usage, error) {
	u := usage{writes: map[string]float64{}}
	pods := &corev1.PodList{}
	if err := b.client.List(ctx, pods, client.InNamespace("gatehouse-system"), client.MatchingLabels{"app.kubernetes.io/name": "gatehouse"}); err != nil || len(pods.Items) != 1 {
		return u, fmt.Errorf("find the control plane: %d pods: %w", len(pods.Items), err)
	}
	response, err := http.Get("http://" + pods.Items[0].Status.PodIP + ":19001/metrics")
	if err != nil {
		return u, fmt.Errorf("read the control plane's metrics: %w", err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
		case name == "process_cpu_seconds_total":
			u.cpu = value
		case name == "process_resident_memory_bytes":
			u.rss = int64(value)
		case name == "go_memstats_mallocs_total":
			u.mallocs = value
		case strings.HasPrefix(name, "gatehouse_status_writes_total{") && strings.Contains(name, `result="success"`):
			_, rest, _ := strings.Cut(name, `kind="`)
			kind, _, _ := strings.Cut(rest, `"`)
			u.writes[kind] += value
		}
	}
	return u, lines.Err()
}

// envoyRSS is the memory of the Gateway's Envoy in bytes.
func (b *bench) envoyRSS() (int64, error) {
	return residentOf(func(command string) bool {
		return strings.Contains(command, "--service-cluster default/eg") && strings.Contains(command, b.dir)
	})
}

// residentOf finds a process by its command line and environment, and answers with its resident memory in bytes.
func residentOf(is func(command string) bool) (int64, error) {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	most := int64(0)
	for _, dir := range processes {
		command, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			continue // It has ended.
		}
		root, _ := os.ReadFile(dir + "/mountinfo") // Pods of a cluster have its directory among their mounts.
		if !is(strings.ReplaceAll(string(command), "\x00", " ") + " " + string(root)) {
			continue
		}
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue // As above.
		}
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				if err != nil {
					return 0, err
				}
				most = max(most, kib<<10)
			}
		}
	}
	if most == 0 {
		return 0, fmt.Errorf("the Envoy's process was not found")
	}
	return most, nil
}
