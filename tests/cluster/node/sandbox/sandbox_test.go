package sandbox

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/tests/cluster/node/isolated"
)

func TestMain(m *testing.M) { isolated.Main(m) }

// started is a container with its output so far.
type started struct {
	*Process
	output chan string
}

func newHost(t *testing.T) *Host {
	t.Helper()
	isolated.Need(t)
	h, err := NewHost(isolated.Families...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// newNetwork makes a network with the pod address of each family that ends in last.
func newNetwork(t *testing.T, h *Host, last byte) *Network {
	t.Helper()
	var addrs []netip.Addr
	for _, f := range isolated.Families {
		addr := f.Gateway.AsSlice()
		addr[len(addr)-1] = last
		a, _ := netip.AddrFromSlice(addr)
		addrs = append(addrs, a)
	}
	n, err := h.NewNetwork(addrs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func start(t *testing.T, h *Host, n *Network, s Spec) started {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Dir, s.Hostname = t.TempDir(), "pod-0"
	p, err := h.Start(n, s, Output{Stdout: write, Stderr: write})
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	output := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(read)
		output <- string(all)
	}()
	return started{p, output}
}

func TestContainerSeesItsOwnWorld(t *testing.T) {
	h := newHost(t)
	n := newNetwork(t, h, 2)
	volume := t.TempDir()
	if err := os.WriteFile(filepath.Join(volume, "key"), []byte("value"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, h, n, Spec{
		Command: []string{"sh", "-c", `
			echo $(hostname) $GREETING
			cat /etc/resolv.conf /var/run/secrets/key
			ls -d /root/* /tmp/* 2>/dev/null
			touch /var/run/secrets/key 2>/dev/null || echo volume is read-only
			touch /etc/x 2>/dev/null || echo root is read-only
			echo a > /data/a && echo volume is writable
			echo b > /dev/stdout
			id -u
			exit 7`},
		Env:   []string{"GREETING=hello"},
		Files: map[string]string{"/etc/resolv.conf": "nameserver 10.244.0.1\n"},
		Mounts: []Mount{
			{Source: volume, Target: "/var/run/secrets", ReadOnly: true},
			{Source: t.TempDir(), Target: "/data"},
		},
		ReadOnlyRoot: true,
	})
	<-c.Done()
	want := "pod-0 hello\nnameserver 10.244.0.1\nvaluevolume is read-only\nroot is read-only\nvolume is writable\nb\n0\n"
	if got := <-c.output; got != want || c.Exit() != 7 {
		t.Errorf("exit %d, output:\n%s\nwant exit 7 and\n%s", c.Exit(), got, want)
	}
}

func TestUser(t *testing.T) {
	h := newHost(t)
	c := start(t, h, newNetwork(t, h, 2), Spec{
		Command: []string{"sh", "-c", "id -u; id -g; echo b > /dev/stdout"},
		UID:     65532, GID: 65532,
	})
	if got := <-c.output; got != "65532\n65532\nb\n" {
		t.Errorf("output %q", got)
	}
}

func TestExecAndTerminate(t *testing.T) {
	h := newHost(t)
	c := start(t, h, newNetwork(t, h, 2), Spec{Command: []string{
		"sh", "-c",
		`trap 'echo bye; exit 3' TERM; echo ready > /tmp/state; setsid sleep 1000 & while :; do sleep 0.01; done`,
	}})
	eventually(t, func() bool {
		code, output, err := c.Exec(t.Context(), []string{"cat", "/tmp/state"})
		return err == nil && code == 0 && output == "ready\n"
	})
	if code, output, err := c.Exec(t.Context(), []string{"sh", "-c", "echo no; exit 4"}); err != nil || code != 4 ||
		output != "no\n" {
		t.Errorf("exec: %d %q %v", code, output, err)
	}
	if _, _, err := c.Exec(t.Context(), []string{"does-not-exist"}); err == nil ||
		!strings.Contains(err.Error(), "does-not-exist") {
		t.Errorf("exec of a missing program: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Exec(ctx, []string{"sleep", "1000"}); err == nil {
		t.Error("a command that takes too long must be an error")
	}
	if err := c.Terminate(); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if got := <-c.output; c.Exit() != 3 || got != "bye\n" {
		t.Errorf("exit %d, output %q", c.Exit(), got)
	}
}

func TestStartErrors(t *testing.T) {
	h := newHost(t)
	n := newNetwork(t, h, 2)
	for name, s := range map[string]Spec{
		"nowhere": {Command: []string{"nowhere"}},
		"/absent": {Command: []string{"true"}, Mounts: []Mount{{Source: "/absent", Target: "/x"}}},
	} {
		s.Dir = t.TempDir()
		if _, err := h.Start(n, s, Output{Stdout: os.Stdout, Stderr: os.Stderr}); err == nil ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("want an error that names %s, got %v", name, err)
		}
	}
}

func TestPodsReachEachOther(t *testing.T) {
	h := newHost(t)
	a, b := newNetwork(t, h, 2), newNetwork(t, h, 3)
	for i, f := range isolated.Families {
		listen, err := net.Listen("tcp", netip.AddrPortFrom(f.Gateway, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(listen.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		serve := "import socket;s=socket.create_server(('" + b.Addrs[i].String() + "',80),family=socket." +
			[]string{"AF_INET", "AF_INET6"}[i] + ");c,a=s.accept();c.send(a[0].encode());c.close()"
		server := start(t, h, b, Spec{Command: []string{"python3", "-c", serve}})
		client := start(t, h, a, Spec{Command: []string{"bash", "-c", "until exec 3<>/dev/tcp/" + b.Addrs[i].String() +
			"/80; do sleep 0.01; done 2>/dev/null; cat <&3; exec 4<>/dev/tcp/" + f.Gateway.String() + "/" + port}})
		conn, err := listen.Accept()
		if err != nil {
			t.Fatal(err)
		}
		want := a.Addrs[i].String()
		if host, _, _ := net.SplitHostPort(conn.RemoteAddr().String()); host != want {
			t.Errorf("the node sees %s, want the pod's address %s", host, want)
		}
		if got := <-client.output; got != want {
			t.Errorf("the other pod sees %q, want the pod's address %s", got, want)
		}
		<-server.Done()
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("timed out")
		}
	}
}
