package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// The load that changes are made under.
const (
	workers        = 12
	perWorker      = 100 // Requests a second.
	webSockets     = 25
	gRPCStreams    = 25
	secureStreams  = 5 // Of each of these two kinds.
	secureWorkers  = 2
	webHost        = "web.example.com"
	gRPCHost       = "grpc.example.com"
	secureHost     = "secure.example.com"
	streamInterval = 200 * time.Millisecond
)

// secureLoad is the part of a load that goes over TLS, to the hosts in turn.
type secureLoad struct {
	hosts []string
	// workers make requests, and streams are how many of each kind go over TLS.
	workers, streams int
}

// load is requests and long-lived streams to a Gateway, until it is stopped.
type load struct {
	address string
	secured secureLoad
	sent    atomic.Int64
	failed  atomic.Int64
	broken  atomic.Int64
	passed  atomic.Int64 // Messages over streams.
	stop    context.CancelFunc
	group   sync.WaitGroup
	first   sync.Once
}

// startLoad returns once all streams are open.
func startLoad(ctx context.Context, address string, secured secureLoad) (*load, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{address: address, secured: secured, stop: cancel}
	for range workers {
		l.group.Go(func() { l.requests(ctx) })
	}
	for i := range secured.workers {
		l.group.Go(func() { l.secure(ctx, i) })
	}
	for i := range webSockets {
		if err := l.webSocket(ctx, l.host(i)); err != nil {
			l.end()
			return nil, fmt.Errorf("open a WebSocket: %w", err)
		}
	}
	for i := range gRPCStreams {
		if err := l.gRPC(ctx, l.host(i)); err != nil {
			l.end()
			return nil, fmt.Errorf("open a gRPC stream: %w", err)
		}
	}
	return l, nil
}

// host is the one that a stream goes to over TLS, "" for a stream without TLS.
func (l *load) host(stream int) string {
	if stream >= l.secured.streams {
		return ""
	}
	return l.secured.hosts[stream%len(l.secured.hosts)]
}

func (l *load) end() {
	l.stop()
	l.group.Wait()
}

func (l *load) fail(what string, err error) {
	l.first.Do(func() { progress("the first failure: %s: %v", what, err) })
}

// requests asks at a steady rate over a connection that is kept.
func (l *load) requests(ctx context.Context) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(time.Second / perWorker)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.count(get(client, l.address, webHost))
	}
}

// secure makes a new TLS connection for each request, some each second. The first one goes to that host.
func (l *load) secure(ctx context.Context, first int) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, l.address+":443")
		},
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: transport}
	for i := first; ctx.Err() == nil; i += l.secured.workers {
		response, err := client.Get("https://" + l.secured.hosts[i%len(l.secured.hosts)] + "/")
		status, body := 0, fmt.Sprint(err)
		if err == nil {
			status = response.StatusCode
			_, _ = io.Copy(io.Discard, response.Body) // The status is enough.
			_ = response.Body.Close()                 // As above.
		}
		l.count(status, body)
		time.Sleep(50 * time.Millisecond)
	}
}

func (l *load) count(status int, body string) {
	l.sent.Add(1)
	if status != http.StatusOK {
		l.failed.Add(1)
		l.fail("a request", fmt.Errorf("%d %s", status, body))
	}
}

// keep passes messages over a stream until the load ends. A stream that ends before is broken.
func (l *load) keep(ctx context.Context, what string, pass func() error, leave func() error) {
	unblock := context.AfterFunc(ctx, func() { _ = leave() })
	defer unblock()
	for ctx.Err() == nil {
		if err := pass(); err != nil {
			if ctx.Err() == nil {
				l.broken.Add(1)
				l.fail(what, err)
			}
			return
		}
		l.passed.Add(1)
	}
}

// webSocket opens a connection that is upgraded, to a host over TLS or without TLS if there is none, and keeps it.
func (l *load) webSocket(ctx context.Context, host string) error {
	var connection net.Conn
	var err error
	if host != "" {
		connection, err = (&tls.Dialer{Config: &tls.Config{
			ServerName:         host,
			InsecureSkipVerify: true,
		}}).DialContext(ctx, "tcp", l.address+":443")
	} else {
		host = webHost
		connection, err = (&net.Dialer{}).DialContext(ctx, "tcp", l.address+":80")
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(connection, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", host)
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err == nil && response.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(response.Status)
	}
	if err != nil {
		return errors.Join(err, connection.Close())
	}
	l.group.Go(func() { l.keep(ctx, "a WebSocket", func() error { return ping(connection, reader) }, connection.Close) })
	return nil
}

// gRPC opens a stream of messages, as above.
func (l *load) gRPC(ctx context.Context, host string) error {
	target, transport := l.address+":80", insecure.NewCredentials()
	if host == "" {
		host = gRPCHost
	} else {
		target, transport = l.address+":443", credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	client, err := grpc.NewClient("passthrough:///"+target, grpc.WithAuthority(host),
		grpc.WithTransportCredentials(transport))
	if err != nil {
		return err
	}
	stream, err := healthv1.NewHealthClient(client).Watch(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		return errors.Join(err, client.Close())
	}
	l.group.Go(func() {
		l.keep(ctx, "a gRPC stream", func() error {
			_, err := stream.Recv()
			return err
		}, client.Close)
	})
	return nil
}

// ping sends a byte and waits for its echo.
func ping(connection net.Conn, reader *bufio.Reader) error {
	time.Sleep(streamInterval)
	if err := connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := connection.Write([]byte{'x'}); err != nil {
		return err
	}
	_, err := reader.ReadByte()
	return err
}
