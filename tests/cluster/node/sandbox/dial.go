package sandbox

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Dial connects to a TCP port on the pod's own loopback address, from within the pod's network.
func (n *Network) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	made := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // Never unlocked: the thread ends with this goroutine, in whatever namespace it is.
		if err := unix.Setns(int(n.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			made <- result{err: fmt.Errorf("enter the pod's network namespace: %w", err)}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		made <- result{conn, err}
	}()
	r := <-made
	return r.conn, r.err
}
