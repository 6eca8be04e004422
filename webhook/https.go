package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// The limits for connections.
const (
	// maxConnections is the number of connections at a time, shared between peers. An API server keeps 25 to a webhook
	// and opens more for concurrent requests.
	maxConnections = 1024
	// headerTime is the limit for a TLS handshake, and then for the headers of a request.
	headerTime = 10 * time.Second
	// maxHeader is the largest header in bytes: an API server and other replicas send less than 4 KiB.
	maxHeader = 16 << 10
	// idleTime is how long a connection may be idle between two requests. Clients close it earlier.
	idleTime = 90 * time.Second
	// requestTime is the limit for receiving a complete request, and for the time from its headers until the client has
	// the answer.
	requestTime = 30 * time.Second
	// drainTime is how long the server completes requests that have begun when it stops.
	drainTime = time.Minute
)

// NewServer returns an HTTPS server without handlers; the empty host means every address. The server asks for the
// certificate at every handshake, so that a renewed one is used at once. The server is a Runnable of every replica.
// When its context ends, it completes the requests that have begun.
func NewServer(host string, port int, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) webhook.Server {
	mux := http.NewServeMux()
	return &server{
		Server:      webhook.NewServer(webhook.Options{WebhookMux: mux}),
		address:     net.JoinHostPort(host, strconv.Itoa(port)),
		mux:         mux,
		connections: newShares(maxConnections),
		requestTime: requestTime,
		tls: &tls.Config{
			MinVersion: tls.VersionTLS12, GetCertificate: certificate,
			ClientAuth: tls.RequestClientCert, // The handlers verify it if they need to, see Clients.
			// With HTTP/2 one connection would stand for many requests. The API server speaks HTTP/1.1 with webhooks.
			NextProtos: []string{"http/1.1"},
		},
	}
}

// server is the webhook server of controller-runtime with another listener: connections are limited and shared between
// peers.
type server struct {
	webhook.Server
	address     string
	mux         *http.ServeMux
	tls         *tls.Config
	connections *shares
	requestTime time.Duration
	listening   atomic.Bool
}

// Start serves until the context ends.
func (s *server) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen for the API server: %w", err)
	}
	https := &http.Server{
		Handler: s.mux, BaseContext: func(net.Listener) context.Context { return withServer(ctx) }, ConnContext: withConnection,
		ReadHeaderTimeout: headerTime, ReadTimeout: s.requestTime, WriteTimeout: s.requestTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader,
	}
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(ended)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if https.Shutdown(limit) != nil {
			_ = https.Close() // The remaining connections are closed.
		}
	})
	s.listening.Store(true)
	err = https.Serve(tls.NewListener(&sharingListener{listener, s.connections}, s.tls))
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API server: %w", err)
	}
	<-ended
	return nil
}

// StartedChecker returns an error until the server listens.
func (s *server) StartedChecker() healthz.Checker {
	return func(*http.Request) error {
		if !s.listening.Load() {
			return errors.New("the webhook does not listen yet")
		}
		return nil
	}
}

// sharingListener accepts a connection only if there is room for its peer, and closes it otherwise.
type sharingListener struct {
	net.Listener
	connections *shares
}

// Accept waits for the next connection for which there is room.
func (l *sharingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p := l.connections.take(sender{peer: peerOf(conn.RemoteAddr().String())}, 1, func() { _ = conn.Close() })
		if p == nil {
			_ = conn.Close()
			continue
		}
		return &connection{conn, l.connections, p}, nil
	}
}

// connection is a connection that has room.
type connection struct {
	net.Conn
	room    *shares
	portion *portion
}

// Close closes the connection and returns its room.
func (c *connection) Close() error {
	c.room.giveBack(c.portion)
	return c.Conn.Close()
}

type connectionKey struct{}

func withConnection(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*tls.Conn); ok {
		return context.WithValue(ctx, connectionKey{}, c.NetConn())
	}
	return ctx
}

type serverKey struct{}

// withServer lets requests know the context of their server.
func withServer(ctx context.Context) context.Context { return context.WithValue(ctx, serverKey{}, ctx) }

// onGone calls a function when the client closes its connection before the answer, and not when only the server has to
// stop. The caller calls stop when the request is answered.
func onGone(r *http.Request, gone func()) (stop func() bool) {
	server, ok := r.Context().Value(serverKey{}).(context.Context)
	return context.AfterFunc(r.Context(), func() {
		if ok && server.Err() == nil {
			gone()
		}
	})
}

// keepConnection makes the connection of a complete request the last one that its peer would lose: others are idle, or
// never sent anything.
func keepConnection(r *http.Request) {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		c.room.keep(c.portion)
	}
}
