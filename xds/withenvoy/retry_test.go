package withenvoy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/envoytest"
)

// scripted is a backend that does one action for each attempt, and then answers 200: "hang", "abort" (the connection
// closes without a response), "unavailable" (gRPC's status of that name), or a status.
type scripted struct {
	attempts atomic.Int32
	script   []any
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/scripted" {
		return
	}
	n := int(s.attempts.Add(1))
	if n > len(s.script) {
		_, _ = io.WriteString(w, "at last")
		return
	}
	switch does := s.script[n-1].(type) {
	case int:
		w.WriteHeader(does)
	case string:
		switch does {
		case "hang":
			<-r.Context().Done()
		case "abort":
			panic(http.ErrAbortHandler)
		case "unavailable":
			w.Header().Set("Grpc-Status", "14")
		}
	}
}

// TestRetriesOfRules lets backends fail in each way that the retry of a rule covers, and in others.
func TestRetriesOfRules(t *testing.T) {
	c := startTranslated(t, false)
	backend := &scripted{}
	c.apply(append(c.behind("scripted", backend), c.route("a.example.com", nil))...)
	c.reaches("/")
	for i, tc := range []struct {
		retry    *gwapiv1.HTTPRouteRetry
		method   string
		script   []any
		want     int
		attempts int32
	}{
		{&gwapiv1.HTTPRouteRetry{Attempts: new(2)}, http.MethodGet, []any{"hang", "abort"}, 200, 3},
		{&gwapiv1.HTTPRouteRetry{Attempts: new(2)}, http.MethodPost, []any{"hang"}, 504, 1},
		{&gwapiv1.HTTPRouteRetry{Attempts: new(2)}, http.MethodPost, []any{"abort"}, 503, 1},
		{&gwapiv1.HTTPRouteRetry{Attempts: new(2)}, http.MethodPost, []any{"unavailable", "unavailable"}, 200, 3},
		{&gwapiv1.HTTPRouteRetry{Attempts: new(2)}, http.MethodGet, []any{500}, 500, 1},
		{
			&gwapiv1.HTTPRouteRetry{Attempts: new(2), Codes: []gwapiv1.HTTPRouteRetryStatusCode{500, 503}}, http.MethodPost,
			[]any{500, 503},
			200, 3,
		},
		{
			&gwapiv1.HTTPRouteRetry{Attempts: new(2), Codes: []gwapiv1.HTTPRouteRetryStatusCode{500}}, http.MethodPost,
			[]any{500, 500, 500},
			500, 3,
		},
		{&gwapiv1.HTTPRouteRetry{Codes: []gwapiv1.HTTPRouteRetryStatusCode{500}}, http.MethodPost, []any{500, 500}, 500, 2},
		{
			&gwapiv1.HTTPRouteRetry{Attempts: new(0), Codes: []gwapiv1.HTTPRouteRetryStatusCode{500}}, http.MethodGet,
			[]any{500},
			500, 1,
		},
		{&gwapiv1.HTTPRouteRetry{Attempts: new(0)}, http.MethodGet, []any{"abort"}, 503, 1},
		{&gwapiv1.HTTPRouteRetry{Attempts: new(0)}, http.MethodGet, []any{"hang"}, 504, 1},
	} {
		host := fmt.Sprintf("case-%d.example.com", i)
		route := c.route(host, nil)
		rule := &route.Spec.Rules[0]
		rule.BackendRefs[0].Name, rule.Retry = "scripted", tc.retry
		rule.Timeouts = &gwapiv1.HTTPRouteTimeouts{BackendRequest: new(gwapiv1.Duration("200ms"))}
		c.apply(route)
		envoytest.WaitFor(t, host, func() bool {
			return verbatim(t, http.MethodGet, host,
				"/ready").StatusCode == http.StatusOK
		})
		backend.script = tc.script
		backend.attempts.Store(0)
		if got := verbatim(t, tc.method, host, "/scripted").StatusCode; got != tc.want ||
			backend.attempts.Load() != tc.attempts {
			t.Errorf("%s with %v, retried %v: answered %d after %d attempts, want %d after %d",
				tc.method, tc.script, *tc.retry, got, backend.attempts.Load(), tc.want, tc.attempts)
		}
	}
}

// servesFrames is an HTTP/2 server that answers each stream with 200, except for the frames that meet handles itself. It
// returns the port.
func servesFrames(t *testing.T, meet func(*http2.Framer, http2.Frame) (handled bool)) int {
	t.Helper()
	listener := listen(t)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveFrames(conn, meet)
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func serveFrames(conn net.Conn, meet func(*http2.Framer, http2.Frame) (handled bool)) {
	defer func() { _ = conn.Close() }()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		if meet(framer, frame) {
			continue
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			var block bytes.Buffer
			_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
			_ = framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: f.StreamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
			})
		}
	}
}

// TestRefusedStreamsAreRetried posts to a backend that refuses the stream.
func TestRefusedStreamsAreRetried(t *testing.T) {
	c := startTranslated(t, false)
	var streams atomic.Int32
	objects := c.behind("refuses")
	objects[0].(*corev1.Service).Spec.Ports[0].AppProtocol = new("kubernetes.io/h2c")
	port := servesFrames(t, func(framer *http2.Framer, frame http2.Frame) bool {
		headers, ok := frame.(*http2.HeadersFrame)
		if !ok || streams.Add(1) > 1 {
			return false
		}
		_ = framer.WriteRSTStream(headers.StreamID, http2.ErrCodeRefusedStream)
		return true
	})
	c.apply(append(objects, c.further("refuses", "http", port))...)
	route := c.route("a.example.com", nil)
	matched(&route.Spec.Rules[0], "/refused", "")
	route.Spec.Rules[0].BackendRefs[0].Name = "refuses"
	route.Spec.Rules[0].Retry = &gwapiv1.HTTPRouteRetry{}
	whole := *route.Spec.Rules[0].DeepCopy()
	matched(&whole, "/ready", "")
	whole.BackendRefs[0].Name = "echo"
	route.Spec.Rules = append(route.Spec.Rules, whole)
	c.apply(route)
	c.reaches("/ready")
	if got := exchange(t, http.MethodPost, "/refused").StatusCode; got != http.StatusOK || streams.Load() != 2 {
		t.Errorf("answered %d after %d streams, want 200 after 2", got, streams.Load())
	}
}

// TestMissingConnectionsAreRetried posts to a backend with TLS and another endpoint that refuses connections, does not
// answer, or does not support TLS.
func TestMissingConnectionsAreRetried(t *testing.T) {
	c := startTranslated(t, false)
	servers := newAuthority(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{servers.issue("secure.internal")}}
	s.StartTLS()
	t.Cleanup(s.Close)
	route := c.route("a.example.com", nil)
	route.Spec.Rules[0].BackendRefs[0].Name, route.Spec.Rules[0].Retry = "secure", &gwapiv1.HTTPRouteRetry{}
	c.apply(append(c.behind("secure"), c.authorities("ca", servers.pem()), c.backendTLS("secure.internal"), route,
		c.further("secure", "http", s.Listener.Addr().(*net.TCPAddr).Port))...)
	c.reaches("/")
	const failures = "cluster.service/shop/secure/80[^.]*.upstream_cx_connect_fail"
	for name, port := range map[string]int{
		"refusing": refusing(t), "silent": silent(t),
		"plain": speaker(t, listen(t), "no TLS"),
	} {
		other := c.further("secure", "http", port)
		c.apply(other)
		c.quiet()
		before := c.stat(failures)
		for i := 0; c.stat(failures) == before; i++ {
			if code := exchange(t, http.MethodPost, "/").StatusCode; code != http.StatusOK || i == 200 {
				t.Fatalf("%s: request %d is answered %d, after %d failed connections", name, i, code, c.stat(failures)-before)
			}
		}
		c.delete(other)
	}
}
