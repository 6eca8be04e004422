package shutdown

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/infra/envoytest"
)

// sockets counts the sockets of this process.
func sockets(t *testing.T) (n int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if link, err := os.Readlink(filepath.Join("/proc/self/fd", f.Name())); err == nil && len(link) > 6 &&
			link[:6] == "socket" {
			n++
		}
	}
	return n
}

// TestHooksBeyondTheLimitWait: a client that reaches the sidecar cannot make it hold any number of connections. All of
// them are answered, including kubelet's, when Envoy is drained.
func TestHooksBeyondTheLimitWait(t *testing.T) {
	m := Manager{Host: "127.0.0.1", Port: 19502, ReadyTimeout: time.Minute, ReadyFile: filepath.Join(t.TempDir(), "ready")}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx, quiet()) }()
	envoytest.WaitFor(t, "the manager to serve", func() bool {
		code,
			_ := envoytest.Get(m.Port, HealthPath)
		return code == http.StatusOK
	})

	const hooks = 3 * maxConnections
	before, answers := sockets(t), make(chan string, hooks)
	for range hooks {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.Port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", ReadyPath); err != nil {
			t.Fatal(err)
		}
		go func() {
			answer := make([]byte, len("HTTP/1.1 200"))
			_, _ = c.Read(answer)
			answers <- string(answer)
		}()
	}
	envoytest.WaitFor(t, "hooks to be held", func() bool { return sockets(t) >= before+hooks+maxConnections/2 })
	time.Sleep(200 * time.Millisecond) // For those that are not to be.
	if held := sockets(t) - before - hooks; held > maxConnections {
		t.Errorf("%d hooks are held, want at most %d", held, maxConnections)
	}
	if err := os.WriteFile(m.ReadyFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range hooks {
		if got := <-answers; got != "HTTP/1.1 200" {
			t.Errorf("a hook is answered %q", got)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
