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
	sent    map[string]float64 // Resources sent to proxies by type, removals included.
}

// controlPlane reads the control plane's own metrics.
func (b *bench) controlPlane(ctx context.Context) (usage, error) {
	u := usage{writes: map[string]float64{}, sent: map[string]float64{}}
	pods := &corev1.PodList{}
	if err := b.client.List(ctx, pods, client.InNamespace("gatehouse-system"),
		client.MatchingLabels{"app.kubernetes.io/name": "gatehouse"}); err != nil || len(pods.Items) != 1 {
		return u, fmt.Errorf("find the control plane: %d pods: %w", len(pods.Items), err)
	}
	samples, err := samples(http.DefaultClient, "http://"+pods.Items[0].Status.PodIP+":19001/metrics")
	if err != nil {
		return u, fmt.Errorf("read the control plane's metrics: %w", err)
	}
	u.cpu, u.rss = samples["process_cpu_seconds_total"], int64(samples["process_resident_memory_bytes"])
	u.mallocs = samples["go_memstats_mallocs_total"]
	for name, value := range samples {
		if strings.HasPrefix(name, "gatehouse_status_writes_total{") && strings.Contains(name, `result="success"`) {
			u.writes[label(name, "kind")] += value
		}
		if strings.HasPrefix(name, "gatehouse_xds_resources_total{") {
			u.sent[label(name, "type")] += value
		}
	}
	return u, nil
}

// samples reads metrics in Prometheus' text format, by name and labels as they stand there.
func samples(by *http.Client, address string) (map[string]float64, error) {
	response, err := by.Get(address)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", address, response.Status)
	}
	found := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ') // Values of labels may have spaces.
		if at < 0 {
			continue
		}
		name, text := lines.Text()[:at], lines.Text()[at+1:]
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			found[name] = value
		}
	}
	return found, lines.Err()
}

// label is the value of a label of a sample.
func label(sample, name string) string {
	_, rest, _ := strings.Cut(sample, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
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
