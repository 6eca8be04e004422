package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestQuickstart: the quickstart, applied as one file without a warning (see run), is answered by the echo server
// through Envoy, and its status tells of the generation that is served.
func TestQuickstart(t *testing.T) {
	at := address(t, "default", "eg")
	answers(t, at, "www.example.com", "/", http.StatusOK)
	answers(t, at, "other.example.com", "/", http.StatusNotFound)
	eventually(t, "the Gateway is Programmed", func() error {
		out, err := kubectl("get", "gateway", "eg", "-o",
			`jsonpath={.metadata.generation} {.status.conditions[?(@.type=="Programmed")].observedGeneration} {.status.conditions[?(@.type=="Programmed")].status}`)
		if out != "1 1 True" {
			return fmt.Errorf("generation, observedGeneration, status: %s %w", out, err)
		}
		return nil
	})
	out, err := kubectl("get", "httproute", "backend", "-o",
		`jsonpath={range .status.parents[0].conditions[*]}{.type}={.status} {end}`)
	if must(t, out, err); strings.TrimSpace(out) != "Accepted=True ResolvedRefs=True" {
		t.Errorf("conditions of the route: %s", out)
	}
}

// load sends requests over one connection until it is stopped and counts those that were not answered 200.
func load(at, host string) (stop func() (sent, failed int64, last error)) {
	return loadBy(&http.Client{Timeout: 5 * time.Second}, at, host)
}

// loadBy is load by a client of one's own.
func loadBy(client *http.Client, at, host string) (stop func() (sent, failed int64, last error)) {
	var sent, failed atomic.Int64
	var last atomic.Value
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			case <-time.After(2 * time.Millisecond):
			}
			sent.Add(1)
			if code, body, err := get(client, at, host, "/"); err != nil || code != http.StatusOK {
				failed.Add(1)
				last.Store(fmt.Errorf("%d %s %w", code, body, err))
			}
		}
	}()
	return func() (int64, int64, error) {
		close(end)
		<-done
		err, _ := last.Load().(error)
		return sent.Load(), failed.Load(), err
	}
}

// noneFailed ends the load.
func noneFailed(t *testing.T, stop func() (int64, int64, error)) {
	t.Helper()
	sent, failed, last := stop()
	if failed > 0 || sent < 20 {
		t.Errorf("%d of %d requests failed, the last with %v", failed, sent, last)
	}
}

// TestControlPlaneKilled: while nobody leads, Envoys go on serving, and the next control plane sends them nothing new.
func TestControlPlaneKilled(t *testing.T) {
	at := address(t, "default", "eg")
	answers(t, at, "www.example.com", "/", http.StatusOK)
	before := envoyUpdates(t)
	stop := load(at, "www.example.com")
	out, err := kubectl("delete", "pod", "-n", "gatehouse-system", "-l", controlPlane, "--grace-period=0", "--force")
	must(t, out, err)
	out, err = kubectl("rollout", "status", "-n", "gatehouse-system", "deployment/gatehouse", "--timeout=60s")
	must(t, out, err)
	eventually(t, "the Envoy is connected again", func() error {
		if got := envoyStat(t, "envoy_control_plane_connected_state"); got != "1" {
			return fmt.Errorf("connected_state %q", got)
		}
		return nil
	})
	time.Sleep(time.Second) // Whatever the new control plane sends comes right after the connection.
	noneFailed(t, stop)
	if after := envoyUpdates(t); after != before {
		t.Errorf("the restart changed Envoy's configuration: updates before %s, after %s", before, after)
	}
}

// envoyUpdates counts the updates of listeners and clusters that the quickstart's Envoy has taken.
func envoyUpdates(t *testing.T) string {
	t.Helper()
	return envoyStat(t, "envoy_listener_manager_lds_update_success") + " " +
		envoyStat(t, "envoy_cluster_manager_cds_update_success")
}

// The labels of the quickstart's Envoy, and of the control plane's replicas.
const (
	quickstartEnvoy = "gateway.envoyproxy.io/owning-gateway-namespace=default,gateway.envoyproxy.io/owning-gateway-name=eg"
	controlPlane    = "app.kubernetes.io/name=gatehouse"
)

// staying finds the one pod of the control plane's namespace with these labels that is not leaving: its name and its
// address.
func staying(t *testing.T, labels string) (name, ip string) {
	t.Helper()
	eventually(t, "one pod with labels "+labels+" stays", func() error {
		out, err := kubectl("get", "pods", "-n", "gatehouse-system", "-l", labels, "-o",
			`go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{.status.podIP}} {{end}}{{end}}`)
		found := strings.Fields(out)
		if err != nil || len(found) != 2 {
			return fmt.Errorf("found %q: %w", out, err)
		}
		name, ip = found[0], found[1]
		return nil
	})
	return name, ip
}

// envoyStat reads a counter of the quickstart's Envoy.
func envoyStat(t *testing.T, name string) string {
	t.Helper()
	_, ip := staying(t, quickstartEnvoy)
	out, err := inside("curl", "-s", "http://"+ip+":19001/stats/prometheus")
	must(t, out, err)
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
			return strings.TrimSpace(line[strings.LastIndexByte(strings.TrimSpace(line), ' ')+1:])
		}
	}
	t.Fatalf("Envoy has no counter %s", name)
	return ""
}

// TestBlastRadiusOfOne: a policy that cannot be honoured, stored where admission is off, shuts its own route and no
// other.
func TestBlastRadiusOfOne(t *testing.T) {
	manifest, err := os.ReadFile("testdata/blast.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := apply(string(manifest))
	must(t, out, err)
	t.Cleanup(func() { _, _ = kubectl("delete", "namespace", "blast", "--wait=false") }) // The cluster goes anyway.
	at := address(t, "blast", "good")
	answers(t, at, "open.example.com", "/", http.StatusOK)
	answers(t, at, "shut.example.com", "/", http.StatusInternalServerError)
	answers(t, address(t, "default", "eg"), "www.example.com", "/", http.StatusOK)
	eventually(t, "the broken Gateway says so", func() error {
		out, err := kubectl("get", "gateway", "-n", "blast", "broken", "-o",
			`jsonpath={.status.conditions[?(@.type=="Accepted")].status}`)
		if out != "False" {
			return fmt.Errorf("Accepted: %q %w", out, err)
		}
		return nil
	})
}
