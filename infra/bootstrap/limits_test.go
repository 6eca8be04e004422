package bootstrap

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/infra/envoytest"
)

// patience is how long a limit may take to act, far above each limit.
const patience = 30 * time.Second

// ended waits until the other side closes a connection, for as long as patience lasts.
func ended(t *testing.T, c net.Conn) error {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, c)
	return err
}

func dial(t *testing.T, port int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestFullMemoryRefusesRequestsAndNoProbes: Envoy rejects requests when its heap comes near the memory limit, and still
// answers its probes.
func TestFullMemoryRefusesRequestsAndNoProbes(t *testing.T) {
	f := newFleet(t, "localhost", 0)
	const tiny = "1048576"
	envoytest.Start(t, strings.ReplaceAll(f.bootstrap(t), MemoryLimit, tiny), "--service-cluster", "shop/web",
		"--service-node", "web-1")
	close(f.server.answer)
	f.waitReady(t)
	envoytest.WaitFor(t, "the heap to be found full", func() bool {
		_, metrics := envoytest.Get(MetricsPort, MetricsPath)
		return strings.Contains(metrics, "envoy_overload_envoy_overload_actions_stop_accepting_requests_active{} 1")
	})
	for range 5 {
		if code, body := envoytest.Get(ReadyPort, ReadyPath); code != http.StatusOK {
			t.Errorf("%s answers %d %q", ReadyPath, code, body)
		}
	}
}

// TestConnectionsToEnvoysOwnPorts checks that these connections are limited in number and time, because the limits for
// clients do not apply there.
func TestConnectionsToEnvoysOwnPorts(t *testing.T) {
	f := newFleet(t, "localhost", 0)
	f.start(t)
	close(f.server.answer)
	f.waitReady(t)
	for _, port := range []int{ReadyPort, MetricsPort} {
		t.Run(fmt.Sprint(port), func(t *testing.T) {
			silent, slow := dial(t, port), dial(t, port)
			if _, err := io.WriteString(slow, "GET / HTTP/1.1\r\nHost: a\r\n"); err != nil {
				t.Fatal(err)
			}
			for range ownConnections - 10 {
				dial(t, port)
			}
			var refused int
			for range 20 {
				c := dial(t, port)
				if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Read(make([]byte, 1)); err != nil && !strings.Contains(err.Error(), "timeout") {
					refused++
				}
			}
			if refused == 0 {
				t.Error("connections beyond the limit stay open")
			}
			for name, c := range map[string]net.Conn{"silent": silent, "slow": slow} {
				if err := ended(t, c); err != nil {
					t.Errorf("the %s connection does not end: %v", name, err)
				}
			}
			if code, _ := envoytest.Get(ReadyPort, LivePath); code != http.StatusOK {
				t.Errorf("%s answers %d when they have gone", LivePath, code)
			}
		})
	}
}
