package shutdown

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/infra/bootstrap"
	"gatehouse/infra/envoytest"
)

func TestMain(m *testing.M) { envoytest.Isolate(m) }

// config is an Envoy with a listener that answers all requests, and the listener for probes that every fleet has.
const config = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 19000}}}
static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: 127.0.0.1, port_value: 10080}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config: &hcm
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  - name: ready
    stat_prefix: ` + bootstrap.OwnListenerPrefix + `ready
    address: {socket_address: {address: 127.0.0.1, port_value: 19003}}
    filter_chains: [{filters: [{name: envoy.filters.network.http_connection_manager, typed_config: *hcm}]}]
`

// pod is an Envoy with its sidecar.
type pod struct {
	envoy *envoytest.Envoy
	ready string
}

func startPod(t *testing.T) *pod {
	t.Helper()
	p := &pod{envoy: envoytest.Start(t, config), ready: filepath.Join(t.TempDir(), "ready")}
	if err := os.WriteFile(p.ready, []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Manager{Host: "127.0.0.1", Port: Port, ReadyTimeout: 20 * time.Second, ReadyFile: p.ready}.Run(ctx, quiet())
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended: %v", err)
		}
	})
	envoytest.WaitFor(t, "Envoy to serve", func() bool {
		code, _ := envoytest.Get(10080,
			"/")
		return code == http.StatusOK
	})
	envoytest.WaitFor(t, "the manager to serve", func() bool {
		code,
			_ := envoytest.Get(Port, HealthPath)
		return code == http.StatusOK
	})
	return p
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (p *pod) options() Options {
	return Options{DrainTimeout: 10 * time.Second, ReadyFile: p.ready, Admin: DefaultAdmin, Poll: 20 * time.Millisecond}
}

// connection is a client's connection that stays open.
type connection struct {
	net.Conn
	answers *bufio.Reader
}

func connect(t *testing.T, port int) *connection {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &connection{c, bufio.NewReader(c)}
}

// ask sends a request and reports whether Envoy closes the connection after its response.
func (c *connection) ask(t *testing.T) (closes bool) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("Envoy answers %s", response.Status)
	}
	return response.Close
}

// TestEnvoyIsStoppedOnlyWhenItsClientsHaveGone: while Envoy drains, a client with an open connection is served and
// asked to disconnect. New clients are served too, because load balancers may not know about the drain yet. The hook of
// Envoy waits until the last client has disconnected; connections of probes do not count.
func TestEnvoyIsStoppedOnlyWhenItsClientsHaveGone(t *testing.T) {
	p := startPod(t)
	client, probe := connect(t, 10080), connect(t, 19003)
	if client.ask(t) || probe.ask(t) {
		t.Fatal("Envoy closes connections before it drains")
	}
	hook := make(chan int, 1)
	go func() {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", Port, ReadyPath))
		if err != nil {
			hook <- 0
			return
		}
		hook <- response.StatusCode
		_ = response.Body.Close()
	}()
	drained := make(chan error, 1)
	go func() { drained <- Drain(t.Context(), p.options(), quiet()) }()

	envoytest.WaitFor(t, "Envoy to drain", func() bool {
		_, body := envoytest.Get(19000, "/ready")
		return strings.Contains(body, "DRAINING")
	})
	if code, _ := envoytest.Get(10080, "/"); code != http.StatusOK {
		t.Errorf("a new client gets %d while Envoy drains, want 200", code)
	}
	select {
	case err := <-drained:
		t.Fatalf("drained with a client connected: %v", err)
	case <-hook:
		t.Fatal("the hook is answered with a client connected")
	case <-time.After(300 * time.Millisecond):
	}
	if !client.ask(t) {
		t.Error("the client is not told to go")
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if code := <-hook; code != http.StatusOK {
		t.Errorf("the hook is answered %d, want 200", code)
	}
	p.envoy.Stop(t)
}

func TestDrainTakesNoLongerThanItMay(t *testing.T) {
	p := startPod(t)
	connect(t, 10080).ask(t)
	o := p.options()
	o.DrainTimeout, o.MinDrainDuration = 300*time.Millisecond, time.Hour
	start := time.Now()
	if err := Drain(t.Context(), o, quiet()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < o.DrainTimeout || took > 3*time.Second {
		t.Errorf("draining took %s, want %s", took, o.DrainTimeout)
	}
}

func TestDrainTakesAtLeastItsShortestTime(t *testing.T) {
	p := startPod(t)
	o := p.options()
	o.HealthCheckFailureDelay, o.MinDrainDuration = 100*time.Millisecond, 300*time.Millisecond
	start := time.Now()
	if err := Drain(t.Context(), o, quiet()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Errorf("draining took %s, want at least 400ms", took)
	}
}

func TestConnectionsThatNeedNotBeWaitedFor(t *testing.T) {
	p := startPod(t)
	connect(t, 10080).ask(t)
	o := p.options()
	o.ExitAtConnections = 1
	start := time.Now()
	if err := Drain(t.Context(), o, quiet()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > o.DrainTimeout/2 {
		t.Errorf("draining took %s with as many connections as need not be waited for", took)
	}
}

// TestAnEnvoyThatHasEndedHoldsUpNothing: the file is written even if there is nothing to drain.
func TestAnEnvoyThatHasEndedHoldsUpNothing(t *testing.T) {
	p := startPod(t)
	p.envoy.Stop(t)
	if err := Drain(t.Context(), p.options(), quiet()); err == nil {
		t.Error("nobody is told that Envoy does not answer")
	}
	if code, _ := envoytest.Get(Port, ReadyPath); code != http.StatusOK {
		t.Errorf("the hook is answered %d, want 200", code)
	}
}

func FuzzCount(f *testing.F) {
	f.Add("listener.0.0.0.0_10080.downstream_cx_active: 3\nlistener.0.0.0.0_10080.worker_0.downstream_cx_active: 3\n")
	f.Add("listener.admin.downstream_cx_active: 1\nlistener.gatehouse_ready.downstream_cx_active: 1\n")
	f.Add("no colon")
	f.Fuzz(func(t *testing.T, stats string) {
		n, err := count(strings.NewReader(stats))
		if err != nil {
			return
		}
		if twice, err := count(strings.NewReader(stats + "\n" + stats)); err == nil && twice != 2*n {
			t.Errorf("%d connections, but %d if said twice", n, twice)
		}
	})
}
