package publish

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// A port inside that opens and closes, opens and closes on the host, and a probe is never seen by the listener.
func TestPublishedPortFollowsTheOneInside(t *testing.T) {
	needRoot(t)
	inside := listen(t, "127.0.0.1:0")
	address := inside.Addr().(*net.TCPAddr).AddrPort()
	outside := netip.AddrPortFrom(netip.MustParseAddr("127.31.7.1"), address.Port())

	told := make(chan []Service, 100)
	p := publisher(told)
	service := Service{Namespace: "default", Name: "web", Address: loopback, Ports: []Port{{Number: address.Port()}}}
	p.Set(t.Context(), []Service{service})

	want := service
	want.Loopback = outside.Addr()
	want.Ports = []Port{{Number: address.Port(), Open: true}}
	await(t, told, []Service{want})

	received := make(chan string, 1)
	go func() {
		connection, err := inside.Accept()
		if err != nil {
			return
		}
		defer connection.Close()
		request, _ := io.ReadAll(connection) // until the client's half is closed
		_, _ = connection.Write(append([]byte("echo "), request...))
		received <- string(request)
	}()
	client := dial(t, outside)
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(client)
	if err != nil || string(answer) != "echo hello" {
		t.Fatalf("answer %q, error %v", answer, err)
	}
	// The first connection that the listener accepted is the client's: every probe before it went unseen.
	if got := <-received; got != "hello" {
		t.Fatalf("the listener accepted %q first", got)
	}

	inside.Close()
	want.Ports = []Port{{Number: address.Port()}}
	await(t, told, []Service{want})
	refused(t, outside)

	inside = listen(t, address.String())
	want.Ports = []Port{{Number: address.Port(), Open: true}}
	await(t, told, []Service{want})

	p.Set(t.Context(), nil)
	await(t, told, nil)
	refused(t, outside)
}

func TestPortThatTheHostUses(t *testing.T) {
	needRoot(t)
	inside := listen(t, "127.0.0.1:0")
	port := inside.Addr().(*net.TCPAddr).AddrPort().Port()
	outside := netip.AddrPortFrom(netip.MustParseAddr("127.31.7.1"), port)
	listen(t, outside.String())

	told := make(chan []Service, 100)
	p := publisher(told)
	p.Set(t.Context(), []Service{{Name: "web", Address: loopback, Ports: []Port{{Number: port}}}})
	await(t, told, []Service{{
		Name: "web", Address: loopback, Loopback: outside.Addr(),
		Ports: []Port{{Number: port, Problem: "another program of this machine listens on " + outside.String()}},
	}})
}

func TestAddressWithoutLoopback(t *testing.T) {
	told := make(chan []Service, 100)
	p := publisher(told)
	foreign := Service{Name: "web", Address: netip.MustParseAddr("203.0.113.1"), Ports: []Port{{Number: 80}}}
	p.Set(t.Context(), []Service{foreign})
	await(t, told, []Service{foreign})
}

// A probe is not answered by what the port sends to others at the same time.
func TestProbeAmongResets(t *testing.T) {
	needRoot(t)
	inside := listen(t, "127.0.0.1:0")
	target := inside.Addr().(*net.TCPAddr).AddrPort()
	go func() {
		for {
			connection, err := inside.Accept()
			if err != nil {
				return
			}
			_ = connection.(*net.TCPConn).SetLinger(0)
			connection.Close()
		}
	}()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			if connection, err := net.Dial("tcp4", target.String()); err == nil {
				_, _ = connection.Read(make([]byte, 1))
				connection.Close()
			}
		}
	}()
	for i := range 5000 {
		if open, err := Listening(target, loopback); err != nil || !open {
			t.Fatalf("probe %d: %v, %v", i, open, err)
		}
	}
}

func publisher(told chan []Service) *Publisher {
	return &Publisher{
		Listen: func(address string) (net.Listener, error) { return net.Listen("tcp4", address) },
		Loopback: func(inside netip.Addr) (netip.Addr, bool) {
			return netip.MustParseAddr("127.31.7.1"), inside == loopback
		},
		Source:  loopback,
		Changed: func(services []Service) { told <- services },
		Log:     slog.New(slog.DiscardHandler),
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("raw sockets need root")
	}
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func dial(t *testing.T, address netip.AddrPort) *net.TCPConn {
	t.Helper()
	connection, err := net.DialTimeout("tcp4", address.String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return connection.(*net.TCPConn)
}

// refused waits until the address refuses connections; one that arrives while the port closes may be reset instead.
func refused(t *testing.T, address netip.AddrPort) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var connection net.Conn
		if connection, err = net.DialTimeout("tcp4", address.String(), time.Second); err == nil {
			connection.Close()
		}
		if errors.Is(err, unix.ECONNREFUSED) {
			return
		}
	}
	t.Fatalf("dialling %s: %v, want connection refused", address, err)
}

// await waits until the publisher has told what is wanted.
func await(t *testing.T, told chan []Service, want []Service) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var diff string
	for {
		select {
		case <-ctx.Done():
			t.Fatalf("not told in time; (-want +got):\n%s", diff)
		case got := <-told:
			diff = cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
			if diff == "" {
				return
			}
		}
	}
}
