package withenvoy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"k8s.io/apimachinery/pkg/api/resource"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// startSeen serves seen.test by a backend that answers with what it gets: the path, and some headers.
func startSeen(t *testing.T) *translated {
	t.Helper()
	c := startTranslated(t, false)
	c.apply(c.behind("seen", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(time.Second)
		}
		if content := r.Header.Get("Content-Type"); content != "" {
			w.Header().Set("X-Shown", content)
		}
		var names []string
		for _, name := range []string{"X-Set", "X-Add", "X-Absent", "X-Gone", "X-Internal-A", "X-Request-Id"} {
			if values := r.Header.Values(name); len(values) > 0 {
				names = append(names, name+"="+strings.Join(values, "+"))
			}
		}
		_, _ = fmt.Fprintf(w, "%s  %s", r.URL.Path, strings.Join(names, " "))
	}))...)
	route := c.route("seen.test", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "seen"
	c.apply(route, c.route("open.test", nil))
	c.serves(proxyPort, "open.test")
	return c
}

// exchangeRaw sends bytes over a connection of its own and returns the response with its body, nil if there is none.
func exchangeRaw(t *testing.T, sent string) (*http.Response, string) {
	t.Helper()
	conn := connect(t, 3*time.Second)
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, sent); err != nil {
		return nil, ""
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, ""
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, ""
	}
	return response, string(body)
}

// shown is the status of a response, one of its headers, and its body, "closed" if there is none.
func shown(response *http.Response, body, header string) string {
	if response == nil {
		return "closed"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", response.StatusCode, response.Header.Get(header), body))
}

const seenHost = "Host: seen.test\r\n\r\n"

// TestClientSettings has one policy after the other on the listener of port 80, and sends the same kind of request as
// long as the answer is another one.
func TestClientSettings(t *testing.T) {
	c := startSeen(t)
	address := &v1alpha1.HeaderSettings{
		RequestID: new(v1alpha1.RequestIDDisable),
		LateResponseHeaders: &v1alpha1.HTTPHeaderFilter{Set: []v1alpha1.HTTPHeader{
			{Name: "x-shown", Value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
		}},
	}
	get := func(path string, lines ...string) string {
		return "GET " + path + " HTTP/1.1\r\n" + strings.Join(append(lines, ""), "\r\n") + seenHost
	}
	for _, step := range []struct {
		what string
		spec v1alpha1.ClientTrafficPolicySpec
		// sent are requests, and want what they are answered: the status, the header x-shown, and the body.
		sent, want []string
	}{
		{
			"the last entry of x-forwarded-for",
			v1alpha1.ClientTrafficPolicySpec{
				Headers: address, ClientIPDetection: &v1alpha1.ClientIPDetectionSettings{
					XForwardedFor: &v1alpha1.XForwardedForSettings{NumTrustedHops: new(uint32(1))},
				},
			},
			[]string{get("/", "X-Forwarded-For: 198.51.100.1, 203.0.113.7")},
			[]string{"200 203.0.113.7 /"},
		},
		{
			"no entry of x-forwarded-for",
			v1alpha1.ClientTrafficPolicySpec{
				Headers: address, ClientIPDetection: &v1alpha1.ClientIPDetectionSettings{
					XForwardedFor: &v1alpha1.XForwardedForSettings{NumTrustedHops: new(uint32(0))},
				},
			},
			[]string{get("/", "X-Forwarded-For: 198.51.100.1, 203.0.113.7")},
			[]string{"200 127.0.0.1 /"},
		},
		{
			"the entry that is no proxy",
			v1alpha1.ClientTrafficPolicySpec{
				Headers: address, ClientIPDetection: &v1alpha1.ClientIPDetectionSettings{
					XForwardedFor: &v1alpha1.XForwardedForSettings{TrustedCIDRs: []v1alpha1.CIDR{"203.0.113.0/24", "127.0.0.0/8"}},
				},
			},
			[]string{get("/", "X-Forwarded-For: 198.51.100.1, 203.0.113.7")},
			[]string{"200 198.51.100.1 /"},
		},
		{
			"a header",
			v1alpha1.ClientTrafficPolicySpec{
				Headers: address, ClientIPDetection: &v1alpha1.ClientIPDetectionSettings{
					CustomHeader: &v1alpha1.CustomHeaderExtensionSettings{Name: "X-Client", FailClosed: new(true)},
				},
			},
			[]string{get("/", "X-Client: 203.0.113.9"), get("/")},
			[]string{"200 203.0.113.9 /", "403 127.0.0.1"},
		},
		{
			"the PROXY protocol",
			v1alpha1.ClientTrafficPolicySpec{
				Headers: address, ProxyProtocol: &v1alpha1.ProxyProtocolSettings{},
			},
			[]string{"PROXY TCP4 203.0.113.5 127.0.0.1 1234 80\r\n" + get("/"), get("/")},
			[]string{"200 203.0.113.5 /", "closed"},
		},
		{
			"the PROXY protocol from some",
			v1alpha1.ClientTrafficPolicySpec{
				Headers: address, ProxyProtocol: &v1alpha1.ProxyProtocolSettings{Optional: new(true)},
				TCPKeepalive: &v1alpha1.TCPKeepalive{Probes: new(uint32(3))},
			},
			[]string{"PROXY TCP4 203.0.113.5 127.0.0.1 1234 80\r\n" + get("/"), get("/")},
			[]string{"200 203.0.113.5 /", "200 127.0.0.1 /"},
		},
		{
			"early changes",
			v1alpha1.ClientTrafficPolicySpec{Headers: &v1alpha1.HeaderSettings{
				RequestID: new(v1alpha1.RequestIDDisable),
				EarlyRequestHeaders: &v1alpha1.HTTPHeaderFilter{
					Set:           []v1alpha1.HTTPHeader{{Name: "x-set", Value: "100%%"}},
					Add:           []v1alpha1.HTTPHeader{{Name: "x-add", Value: "b"}},
					AddIfAbsent:   []v1alpha1.HTTPHeader{{Name: "x-absent", Value: "c"}},
					Remove:        []string{"x-gone"},
					RemoveOnMatch: []v1alpha1.StringMatch{{Type: new(v1alpha1.StringMatchPrefix), Value: "x-internal-"}},
				},
			}},
			[]string{get("/", "X-Set: a", "X-Add: a", "X-Gone: a", "X-Internal-A: a", "X-Absent: a")},
			[]string{"200  /  X-Set=100% X-Add=a+b X-Absent=a"},
		},
		{
			"the client's request id",
			v1alpha1.ClientTrafficPolicySpec{
				Headers: &v1alpha1.HeaderSettings{RequestID: new(v1alpha1.RequestIDPreserve)},
			},
			[]string{get("/", "X-Request-Id: mine"), get("/")},
			[]string{"200  /  X-Request-Id=mine", "200  /"},
		},
		{
			"a limit of headers",
			v1alpha1.ClientTrafficPolicySpec{Headers: &v1alpha1.HeaderSettings{
				RequestID: new(v1alpha1.RequestIDDisable), MaxRequestHeaderLimit: new(resource.MustParse("1Ki")),
			}},
			[]string{get("/", "X-Long: "+strings.Repeat("a", 2000)), get("/")},
			[]string{"431  Request Header Fields Too Large", "200  /"},
		},
		{
			"the health of the Gateway",
			v1alpha1.ClientTrafficPolicySpec{
				HealthCheck: &v1alpha1.HealthCheckSettings{Path: "/healthz"},
				Headers:     &v1alpha1.HeaderSettings{RequestID: new(v1alpha1.RequestIDDisable)},
			},
			[]string{"GET /healthz HTTP/1.1\r\nHost: unknown.test\r\n\r\n", get("/healthz/a")},
			[]string{"200", "200  /healthz/a"},
		},
		{
			"HTTP/1.0",
			v1alpha1.ClientTrafficPolicySpec{
				HTTP1:   &v1alpha1.HTTP1Settings{HTTP10: &v1alpha1.HTTP10Settings{}},
				Headers: &v1alpha1.HeaderSettings{RequestID: new(v1alpha1.RequestIDDisable)},
			},
			[]string{"GET /old HTTP/1.0\r\n" + seenHost},
			[]string{"200  /old"},
		},
		{
			"gRPC-Web on routes for HTTP",
			v1alpha1.ClientTrafficPolicySpec{
				GRPC:    &v1alpha1.GRPCSettings{EnableWeb: new(true)},
				Headers: &v1alpha1.HeaderSettings{RequestID: new(v1alpha1.RequestIDDisable)},
			},
			[]string{"POST /web HTTP/1.1\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 0\r\n" + seenHost},
			[]string{"200 application/grpc"},
		},
		{
			"gRPC-Web on no route",
			v1alpha1.ClientTrafficPolicySpec{
				GRPC:    &v1alpha1.GRPCSettings{EnableWeb: new(false)},
				Headers: &v1alpha1.HeaderSettings{RequestID: new(v1alpha1.RequestIDDisable)},
			},
			[]string{"POST /web HTTP/1.1\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 0\r\n" + seenHost},
			[]string{"200 application/grpc-web+proto /web"},
		},
		{
			"a time for each request",
			v1alpha1.ClientTrafficPolicySpec{
				Connection: &v1alpha1.ClientConnection{ConnectionLimit: &v1alpha1.ConnectionLimit{
					MaxStreamDuration: new(gwapiv1.Duration("200ms")),
				}},
				Headers: &v1alpha1.HeaderSettings{RequestID: new(v1alpha1.RequestIDDisable)},
			},
			[]string{get("/slow"), get("/")},
			[]string{"504  downstream duration timeout", "200  /"},
		},
	} {
		c.apply(c.clients(step.spec))
		for i, sent := range step.sent {
			got := ""
			t.Cleanup(func() {
				if t.Failed() && got != step.want[i] {
					t.Errorf("%s: %q", step.what, got)
				}
			})
			envoytest.WaitFor(t, fmt.Sprintf("%s: %q", step.what, step.want[i]), func() bool {
				response, body := exchangeRaw(t, sent)
				got = shown(response, body, "x-shown")
				return got == step.want[i]
			})
		}
	}
}

// TestClientConnections limits how many connections and how many requests of a connection there are.
func TestClientConnections(t *testing.T) {
	c := startSeen(t)
	limited := func(limit v1alpha1.ConnectionLimit) {
		c.apply(c.clients(v1alpha1.ClientTrafficPolicySpec{
			Connection: &v1alpha1.ClientConnection{ConnectionLimit: &limit, MaxAcceptPerSocketEvent: new(uint32(2))},
			HTTP2:      &v1alpha1.HTTP2Settings{MaxConcurrentStreams: new(uint32(7))},
		}))
	}
	limited(v1alpha1.ConnectionLimit{MaxRequestsPerConnection: new(uint32(1))})
	envoytest.WaitFor(t, "a response that ends its connection", func() bool {
		response, _ := exchangeRaw(t, "GET / HTTP/1.1\r\n"+seenHost)
		return response != nil && response.Close
	})
	if got := streams(t); got != 7 {
		t.Errorf("a connection may have %d streams, want 7", got)
	}
	limited(v1alpha1.ConnectionLimit{Value: new(int64(1))})
	envoytest.WaitFor(t, "a second connection to be closed", func() bool {
		first := connect(t, 10*time.Second)
		defer func() { _ = first.Close() }()
		if _, err := io.WriteString(first, "GET / HTTP/1.1\r\n"+seenHost); err != nil {
			return false
		}
		if response, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil || response.StatusCode != http.StatusOK {
			return false
		}
		second, _ := exchangeRaw(t, "GET / HTTP/1.1\r\n"+seenHost)
		return second == nil
	})
}

// TestRateLimitHeaders: responses tell of limits, unless the policy of the listener forbids it.
func TestRateLimitHeaders(t *testing.T) {
	c := startSeen(t)
	limits := &v1alpha1.BackendTrafficPolicy{ObjectMeta: c.meta("limits")}
	limits.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{Group: gwapiv1.GroupName, Kind: "HTTPRoute", Name: "seen.test"},
	}}
	limits.Spec.RateLimit = &v1alpha1.RateLimitSpec{Local: &v1alpha1.LocalRateLimit{Rules: []v1alpha1.RateLimitRule{
		{Limit: v1alpha1.RateLimitValue{Requests: 5, Unit: "Hour"}},
	}}}
	c.apply(limits)
	told := func() (status int, limit, remaining, reset string) {
		response, _ := exchangeRaw(t, "GET / HTTP/1.1\r\n"+seenHost)
		if response == nil {
			t.Fatal("no response")
		}
		h := response.Header
		return response.StatusCode, h.Get("X-Ratelimit-Limit"), h.Get("X-Ratelimit-Remaining"), h.Get("X-Ratelimit-Reset")
	}
	envoytest.WaitFor(t, "a response above the limit that tells of it", func() bool {
		status, limit, remaining, reset := told()
		return status == http.StatusTooManyRequests && limit != "" && remaining != "" && reset != ""
	})
	c.apply(c.clients(v1alpha1.ClientTrafficPolicySpec{Headers: &v1alpha1.HeaderSettings{DisableRateLimitHeaders: new(true)}}))
	envoytest.WaitFor(t, "a response above the limit that does not", func() bool {
		status, limit, remaining, reset := told()
		return status == http.StatusTooManyRequests && limit+remaining+reset == ""
	})
}

// streams is how many streams Envoy lets a connection of HTTP/2 have at a time.
func streams(t *testing.T) uint32 {
	t.Helper()
	conn := connect(t, 10*time.Second)
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			most, _ := settings.Value(http2.SettingMaxConcurrentStreams)
			return most
		}
	}
}

// TestForwardedClientCertificates: backends get what the policy says of the client's certificate, and nothing that the
// client writes.
func TestForwardedClientCertificates(t *testing.T) {
	c, ca := startSecure(t)
	c.apply(c.behind("seen", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Client-Cert"))
	}))...)
	route := c.route(secureHost, nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "seen"
	c.apply(route)
	p := c.terminating(v1alpha1.ClientTLSSettings{ClientValidation: &v1alpha1.ClientValidationContext{
		Mode: new(v1alpha1.ClientValidationRequest),
	}})
	p.Spec.Headers = &v1alpha1.HeaderSettings{XForwardedClientCert: &v1alpha1.XForwardedClientCert{
		Mode: new(v1alpha1.XFCCSanitizeSet), CertDetailsToAdd: []v1alpha1.XFCCCertData{v1alpha1.XFCCSubject, v1alpha1.XFCCURI},
	}}
	c.apply(p)
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		ServerName: secureHost, InsecureSkipVerify: true, Certificates: []tls.Certificate{ca.issue("billing")},
	}}
	got := ""
	envoytest.WaitFor(t, "the certificate of the client", func() bool {
		defer transport.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/", securePort), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = secureHost
		request.Header.Set("X-Forwarded-Client-Cert", "Hash=forged")
		response, err := (&http.Client{Timeout: 5 * time.Second, Transport: transport}).Do(request)
		if err != nil {
			return false
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		got = string(body)
		return err == nil && strings.Contains(got, `Subject="CN=billing"`) && strings.Contains(got, "URI=spiffe://example.com/billing")
	})
	if strings.Contains(got, "forged") {
		t.Errorf("the backend gets what the client wrote: %s", got)
	}
}
