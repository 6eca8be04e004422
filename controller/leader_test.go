package controller

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// line is a TCP connection to the API server that can be cut.
type line struct {
	listener net.Listener
	target   string

	mu   sync.Mutex
	cut  bool
	open []net.Conn
}

func newLine(t *testing.T, target string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener, target: target}
	go l.serve()
	t.Cleanup(func() {
		_ = listener.Close()
		l.set(true)
	})
	return l
}

func (l *line) serve() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.target)
		if err != nil {
			_ = conn.Close()
			continue
		}
		l.mu.Lock()
		if l.open = append(l.open, conn, server); l.cut {
			_, _ = conn.Close(), server.Close()
		}
		l.mu.Unlock()
		go func() { _, _ = io.Copy(server, conn) }()
		go func() { _, _ = io.Copy(conn, server) }()
	}
}

// set cuts the line, or lets new connections through again.
func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for _, conn := range l.open {
		_ = conn.Close()
	}
	l.open = nil
}

// replica is a replica that leads now and then; led counts how often.
type replica struct {
	leadership *Leadership
	end        context.CancelFunc
	ended      chan error

	mu      sync.Mutex
	leading bool
	led     int
}

func newLeader(t *testing.T, config *rest.Config, name string) *replica {
	t.Helper()
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, "default", "leader-test", clients.CoreV1(),
		clients.CoordinationV1(), resourcelock.ResourceLockConfig{Identity: name})
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{ended: make(chan error, 1)}
	r.leadership = &Leadership{
		Lock: lock, Lease: 2 * time.Second, Renew: time.Second, Retry: 200 * time.Millisecond,
		Log: logr.Discard(), Tasks: []func(context.Context) error{
			func(ctx context.Context) error {
				r.lead(true)
				<-ctx.Done()
				r.lead(false)
				return nil
			},
		},
	}
	var ctx context.Context
	ctx, r.end = context.WithCancel(context.Background())
	go func() { r.ended <- r.leadership.Start(ctx) }()
	t.Cleanup(r.end)
	return r
}

func (r *replica) lead(now bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leading = now; now {
		r.led++
	}
}

// leads waits until the replica leads, or not, for the so many-th time.
func (r *replica) leads(t *testing.T, now bool, times int) {
	t.Helper()
	becomes(t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.leading != now || r.led != times {
			return fmt.Errorf("it leads: %t, for the %dth time", r.leading, r.led)
		}
		return nil
	})
}

// TestLostLeaseEndsNothing: a leader that cannot reach the API server for longer than its lease stops writing and goes
// on; it leads again when the API server is there, unless another one does. A leader that is stopped hands on the lease
// at once.
func TestLostLeaseEndsNothing(t *testing.T) {
	config := rest.CopyConfig(server.Config(t))
	host, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	target := host.Host
	if target == "" {
		target = config.Host
	}
	cable := newLine(t, target)
	cut := rest.CopyConfig(config)
	cut.Host = "https://" + cable.listener.Addr().String()
	first := newLeader(t, cut, "first")
	first.leads(t, true, 1)
	for times := range 2 {
		cable.set(true)
		first.leads(t, false, times+1)
		cable.set(false)
		first.leads(t, true, times+2)
	}
	second := newLeader(t, config, "second")
	cable.set(true)
	second.leads(t, true, 1)
	first.leads(t, false, 3)
	cable.set(false)
	second.end()
	first.leads(t, true, 4)
	first.end()
	for _, r := range []*replica{first, second} {
		if err := <-r.ended; err != nil {
			t.Errorf("a replica ended with %v", err)
		}
	}
	first.leads(t, false, 4)
}
