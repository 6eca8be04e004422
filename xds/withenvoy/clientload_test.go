package withenvoy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// streaming is a backend whose path /stream has no end.
func streaming(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil || r.URL.Path != "/stream" {
		return
	}
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, "x"); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// startLoaded serves secureHost over HTTP and over HTTPS by a backend that streams.
func startLoaded(t *testing.T) *translated {
	t.Helper()
	c := startTranslated(t, false)
	c.apply(c.behind("busy", http.HandlerFunc(streaming))...)
	g := c.httpsGateway(gwapiv1.Listener{Name: "https", Port: 443})
	g.Spec.Listeners = append(g.Spec.Listeners, gwapiv1.Listener{Name: "on-80", Protocol: gwapiv1.HTTPProtocolType, Port: 80})
	route := c.route(secureHost, nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "busy"
	route.Spec.Rules[0].Timeouts = &gwapiv1.HTTPRouteTimeouts{Request: new(gwapiv1.Duration("0s"))}
	c.apply(g, c.secret("server", newAuthority(t).issue(secureHost)), route)
	for _, way := range ways {
		envoytest.WaitFor(t, way.what, func() bool { return way.post(t, way.transport(), "/") == nil })
	}
	return c
}

// way is how a client sends requests.
type way struct {
	what, url string
	// once reports whether each request has a connection of its own.
	http2, once bool
}

var ways = []way{
	{"HTTP/1, one connection for a request", fmt.Sprintf("http://127.0.0.1:%d", proxyPort), false, true},
	{"HTTP/1, connections that are kept", fmt.Sprintf("http://127.0.0.1:%d", proxyPort), false, false},
	{"HTTP/2 over TLS, one connection for a request", fmt.Sprintf("https://127.0.0.1:%d", securePort), true, true},
	{"HTTP/2 over TLS, connections that are kept", fmt.Sprintf("https://127.0.0.1:%d", securePort), true, false},
}

func (w way) transport() *http.Transport {
	return &http.Transport{
		TLSClientConfig:   &tls.Config{ServerName: secureHost, InsecureSkipVerify: true},
		ForceAttemptHTTP2: w.http2, DisableKeepAlives: w.once,
	}
}

// open sends a request that http.Transport does not send again after a part of it was sent: a POST with a body.
func (w way) open(ctx context.Context, transport *http.Transport, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+path, struct{ io.Reader }{strings.NewReader("order")})
	if err != nil {
		return nil, err
	}
	request.Host = secureHost
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return response, nil
}

func (w way) post(t *testing.T, transport *http.Transport, path string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	response, err := w.open(ctx, transport, path)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// steady is a load that lasts, and what went wrong with it.
type steady struct {
	t             *testing.T
	group         sync.WaitGroup
	done          atomic.Bool
	stop          context.CancelFunc
	ctx           context.Context
	sent, streams atomic.Int32
	// step is what changed last.
	step atomic.Value
	// reopens reports whether Envoy may be opening the port anew, and reset counts the requests that this has ended.
	reopens atomic.Bool
	reset   atomic.Int32
}

// failed judges a request. One over a connection that Envoy has not accepted yet is reset if the port is opened anew.
func (s *steady) failed(w way, err error) {
	if s.reopens.Load() && errors.Is(err, syscall.ECONNRESET) {
		s.reset.Add(1)
		return
	}
	s.t.Errorf("%s: %s: %v", s.step.Load(), w.what, err)
}

// start sends up to 100 requests in a second in each way.
func (s *steady) start() {
	for _, w := range ways {
		s.group.Go(func() {
			transport := w.transport()
			defer transport.CloseIdleConnections()
			for ; !s.done.Load(); time.Sleep(10 * time.Millisecond) {
				if err := w.post(s.t, transport, "/"); err != nil {
					s.failed(w, err)
				}
				s.sent.Add(1)
			}
		})
	}
}

// follow opens a stream in a way, and reads it until the load stops.
func (s *steady) follow(w way, opened string) {
	s.t.Helper()
	transport := w.transport()
	response, err := w.open(s.ctx, transport, "/stream")
	if err != nil {
		s.t.Errorf("%s: opening a stream, %s: %v", opened, w.what, err)
		return
	}
	s.streams.Add(1)
	s.group.Go(func() {
		defer transport.CloseIdleConnections()
		defer func() { _ = response.Body.Close() }()
		if _, err := io.Copy(io.Discard, response.Body); !errors.Is(err, context.Canceled) {
			s.t.Errorf("%s: a stream ended that was opened at %q, %s: %v", s.step.Load(), opened, w.what, err)
		}
	})
}

func (s *steady) end() {
	s.done.Store(true)
	s.stop()
	s.group.Wait()
	if s.sent.Load() == 0 || s.streams.Load() == 0 {
		s.t.Errorf("%d requests and %d streams", s.sent.Load(), s.streams.Load())
	}
	if n := s.reset.Load(); n > s.sent.Load()/100 {
		s.t.Errorf("%d requests were reset, want a few", n)
	}
	s.t.Logf("%d requests, %d of them reset, %d streams", s.sent.Load(), s.reset.Load(), s.streams.Load())
}

// TestClientTrafficUnderLoad attaches a policy to a Gateway, changes each group of its fields, and removes it, under
// steady load and with open streams. Connections are drained, and a stream goes on until the drain time is over, which is
// longer than this test. No request fails, except that Envoy opens the port anew when options of its socket change: then
// the kernel resets connections that Envoy has not accepted yet.
func TestClientTrafficUnderLoad(t *testing.T) {
	c := startLoaded(t)
	load := &steady{t: t}
	load.ctx, load.stop = context.WithCancel(t.Context())
	load.step.Store("without a policy")
	load.start()
	for _, w := range ways {
		load.follow(w, "the beginning")
	}
	spec := v1alpha1.ClientTrafficPolicySpec{}
	reopening := map[string]bool{"tcpKeepalive": true, "socketBufferLimit": true, "back": true}
	for _, step := range []struct {
		what   string
		change func(headers *v1alpha1.HeaderSettings)
	}{
		{"attached", func(*v1alpha1.HeaderSettings) {}},
		{"headers", func(h *v1alpha1.HeaderSettings) {
			h.EnableEnvoyHeaders, h.RequestID = new(true), new(v1alpha1.RequestIDPreserve)
			h.EarlyRequestHeaders = &v1alpha1.HTTPHeaderFilter{Remove: []string{"x-internal"}}
		}},
		{"path", func(*v1alpha1.HeaderSettings) { spec.Path = &v1alpha1.PathSettings{DisableMergeSlashes: new(true)} }},
		{"timeout", func(*v1alpha1.HeaderSettings) {
			spec.Timeout = &v1alpha1.ClientTimeout{
				HTTP: &v1alpha1.HTTPClientTimeout{IdleTimeout: new(gwapiv1.Duration("1m"))},
				TCP:  &v1alpha1.TCPClientTimeout{ConnectionInspectionTimeout: new(gwapiv1.Duration("5s"))},
			}
		}},
		{"http1, http2 and scheme", func(*v1alpha1.HeaderSettings) {
			spec.HTTP1 = &v1alpha1.HTTP1Settings{EnableTrailers: new(true), PreserveHeaderCase: new(true)}
			spec.HTTP2 = &v1alpha1.HTTP2Settings{MaxConcurrentStreams: new(uint32(50))}
			spec.Scheme = new(v1alpha1.SchemeMatchBackend)
		}},
		{"connection", func(*v1alpha1.HeaderSettings) {
			spec.Connection = &v1alpha1.ClientConnection{
				BufferLimit: new(resource.MustParse("64Ki")), MaxAcceptPerSocketEvent: new(uint32(3)),
				ConnectionLimit: &v1alpha1.ConnectionLimit{Value: new(int64(1000)), MaxRequestsPerConnection: new(uint32(50))},
			}
		}},
		{"tcpKeepalive", func(*v1alpha1.HeaderSettings) {
			spec.TCPKeepalive = &v1alpha1.TCPKeepalive{Probes: new(uint32(3))}
		}},
		{"socketBufferLimit", func(*v1alpha1.HeaderSettings) {
			spec.Connection.SocketBufferLimit = new(resource.MustParse("256Ki"))
		}},
		{"proxyProtocol", func(*v1alpha1.HeaderSettings) {
			spec.ProxyProtocol = &v1alpha1.ProxyProtocolSettings{Optional: new(true)}
		}},
		{"clientIPDetection, healthCheck and grpc", func(*v1alpha1.HeaderSettings) {
			spec.ClientIPDetection = &v1alpha1.ClientIPDetectionSettings{
				XForwardedFor: &v1alpha1.XForwardedForSettings{NumTrustedHops: new(uint32(1))},
			}
			spec.HealthCheck = &v1alpha1.HealthCheckSettings{Path: "/healthz"}
			spec.GRPC = &v1alpha1.GRPCSettings{EnableWeb: new(true)}
		}},
		{"tls", func(*v1alpha1.HeaderSettings) {
			spec.TLS = &v1alpha1.ClientTLSSettings{TLSSettings: v1alpha1.TLSSettings{
				MinVersion: new(v1alpha1.TLSv13), Fingerprints: []v1alpha1.TLSFingerprint{"JA4"},
			}}
		}},
		{"http3", func(*v1alpha1.HeaderSettings) { spec.HTTP3 = &v1alpha1.HTTP3Settings{} }},
		{"back", func(*v1alpha1.HeaderSettings) { spec = v1alpha1.ClientTrafficPolicySpec{} }},
	} {
		load.step.Store(step.what)
		load.reopens.Store(reopening[step.what])
		headers := &v1alpha1.HeaderSettings{}
		step.change(headers)
		headers.LateResponseHeaders = &v1alpha1.HTTPHeaderFilter{Set: []v1alpha1.HTTPHeader{{Name: "x-step", Value: step.what}}}
		spec.Headers = headers
		p := c.clients(spec)
		p.Spec.TargetRefs[0].SectionName = nil
		c.apply(p)
		load.takes(step.what)
		for _, w := range ways {
			load.follow(w, step.what)
		}
		time.Sleep(time.Second)
	}
	load.step.Store("removed")
	load.reopens.Store(false)
	c.delete(c.clients(spec))
	load.takes("")
	time.Sleep(time.Second)
	load.end()
}

// takes waits until new connections are served with the policy of a step.
func (s *steady) takes(step string) {
	s.t.Helper()
	for _, w := range ways {
		envoytest.WaitFor(s.t, fmt.Sprintf("%s: %q", w.what, step), func() bool {
			transport := w.transport()
			defer transport.CloseIdleConnections()
			response, err := w.open(s.ctx, transport, "/")
			if err != nil {
				s.failed(w, err)
				return false
			}
			defer func() { _ = response.Body.Close() }()
			return response.Header.Get("X-Step") == step
		})
	}
}
