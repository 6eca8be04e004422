package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// portForwardProtocol is the only version of the protocol that there is.
const portForwardProtocol = "portforward.k8s.io"

// Dial connects to a port of a pod.
type Dial func(ctx context.Context, port uint16) (net.Conn, error)

// PortForward forwards the connections of one request until the client ends it. Each is a pair of streams with the same
// request ID, one for data and one for an error. Errors of the request are answered.
func PortForward(w http.ResponseWriter, r *http.Request, dial Dial) {
	if _, err := httpstream.Handshake(r, w, []string{portForwardProtocol}); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	streams := make(chan httpstream.Stream)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		if _, err := port(s); err != nil {
			return err
		}
		select {
		case streams <- s:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if connection == nil {
		return // The upgrader has answered.
	}
	defer func() { _ = connection.Close() }()
	var open sync.WaitGroup
	defer open.Wait()
	waiting := map[string]pair{}
	for {
		select {
		case s := <-streams:
			id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
			p := waiting[id].with(s)
			waiting[id] = p
			if p.data != nil && p.error != nil {
				delete(waiting, id)
				open.Go(func() { p.forward(ctx, dial) })
			}
		case <-connection.CloseChan():
			cancel()
			return
		case <-ctx.Done():
			return
		}
	}
}

func port(s httpstream.Stream) (uint16, error) {
	text := s.Headers().Get(corev1.PortHeader)
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port number", text)
	}
	return uint16(n), nil
}

// pair is the two streams of a forwarded connection, as far as they have come.
type pair struct{ data, error httpstream.Stream }

func (p pair) with(s httpstream.Stream) pair {
	if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
		p.error = s
	} else {
		p.data = s
	}
	return p
}

// forward copies both ways until the pod or the client has ended its side.
func (p pair) forward(ctx context.Context, dial Dial) {
	defer func() { _ = errors.Join(p.data.Reset(), p.error.Close()) }() // The client may have gone.
	number, err := port(p.data)
	if err == nil {
		var conn net.Conn
		if conn, err = dial(ctx, number); err == nil {
			p.copy(ctx, conn)
		}
	}
	if err != nil {
		_, _ = fmt.Fprintf(p.error, "forward to port %d: %v", number, err) // The client may have gone.
	}
}

func (p pair) copy(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = io.Copy(p.data, conn) // Either side may end at any time.
		_ = p.data.Close()
	}()
	go func() {
		_, _ = io.Copy(conn, p.data) // Either side may end at any time.
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	<-answered
	_ = conn.Close() // Nothing is left to be sent.
}
