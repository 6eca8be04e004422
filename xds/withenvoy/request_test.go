package withenvoy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// verbatim sends a request to the Gateway's port 80 exactly as written, with lines of headers. It returns the response,
// whose body has been read.
func verbatim(t *testing.T, method, host, target string, headers ...string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", proxyPort))
	if err != nil {
		t.Fatal(err)
	}
	return over(t, conn, method, host, target, headers...)
}

// over is verbatim on a given connection, which it closes.
func over(t *testing.T, conn net.Conn, method, host, target string, headers ...string) *http.Response {
	t.Helper()
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: " + host, "Connection: close"}, headers...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s of %s: %v", method, target, host, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s of %s: %v", method, target, host, err)
	}
	response.Body = io.NopCloser(strings.NewReader(string(body)))
	return response
}

// at gives a rule of a route to its Service a match for a path.
func at(kind gwapiv1.PathMatchType, path string, filters ...gwapiv1.HTTPRouteFilter) gwapiv1.HTTPRouteRule {
	backend := gwapiv1.HTTPBackendRef{}
	backend.Name, backend.Port = "echo", new(int32(80))
	return gwapiv1.HTTPRouteRule{
		Matches:     []gwapiv1.HTTPRouteMatch{{Path: &gwapiv1.HTTPPathMatch{Type: &kind, Value: &path}}},
		Filters:     filters,
		BackendRefs: []gwapiv1.HTTPBackendRef{backend},
	}
}

// TestMessageHeadersStay tests stored filters that change headers that no filter may change: their rules fail, the
// others are served.
func TestMessageHeadersStay(t *testing.T) {
	c := startTranslated(t, false)
	route := c.route("a.example.com", nil)
	set := func(name gwapiv1.HTTPHeaderName, value string) *gwapiv1.HTTPHeaderFilter {
		return &gwapiv1.HTTPHeaderFilter{Set: []gwapiv1.HTTPHeader{{Name: name, Value: value}}}
	}
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{
		at(gwapiv1.PathMatchPathPrefix, "/"),
		at(gwapiv1.PathMatchPathPrefix, "/request",
			gwapiv1.HTTPRouteFilter{
				Type:                  gwapiv1.HTTPRouteFilterRequestHeaderModifier,
				RequestHeaderModifier: set("Content-Length", "4"),
			}),
		at(gwapiv1.PathMatchPathPrefix, "/response",
			gwapiv1.HTTPRouteFilter{
				Type:                   gwapiv1.HTTPRouteFilterResponseHeaderModifier,
				ResponseHeaderModifier: set("content-length", "0"),
			}),
	}
	grpc := &gwapiv1.GRPCRoute{ObjectMeta: c.meta("grpc")}
	grpc.Spec.ParentRefs, grpc.Spec.Hostnames = route.Spec.ParentRefs, []gwapiv1.Hostname{"grpc.example.com"}
	grpc.Spec.Rules = []gwapiv1.GRPCRouteRule{{
		Filters: []gwapiv1.GRPCRouteFilter{{
			Type:                  gwapiv1.GRPCRouteFilterRequestHeaderModifier,
			RequestHeaderModifier: set("Host", "b.example.com"),
		}},
		BackendRefs: []gwapiv1.GRPCBackendRef{{BackendRef: route.Spec.Rules[0].BackendRefs[0].BackendRef}},
	}}
	c.apply(route, grpc)
	c.reaches("/")
	for _, tc := range []struct {
		host, path string
		want       int
	}{
		{"a.example.com", "/fine", 200},
		{"a.example.com", "/request", 500},
		{"a.example.com", "/response", 500},
		{"grpc.example.com", "/a.A/B", 503},
	} {
		if got := verbatim(t, http.MethodPost, tc.host, tc.path, "Content-Length: 0").StatusCode; got != tc.want {
			t.Errorf("%s%s: got %d, want %d", tc.host, tc.path, got, tc.want)
		}
	}
	c.reports(func(p translator.Proxy, _ bool) string {
		if len(p.Rejected)+len(p.Guilty) > 0 {
			return fmt.Sprintf("Envoy rejected %v %v", p.Rejected, p.Guilty)
		}
		return ""
	})
}

// TestTraceIsRefused checks that TRACE is rejected unless a match names it: by a rule for all methods, where no route
// matches, and by a broken rule too.
func TestTraceIsRefused(t *testing.T) {
	c := startTranslated(t, false)
	route := c.route("a.example.com", nil)
	traced := at(gwapiv1.PathMatchPathPrefix, "/traced")
	matched(&traced, "/traced", gwapiv1.HTTPMethodTrace)
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{at(gwapiv1.PathMatchPathPrefix, "/"), traced}
	c.apply(route)
	c.reaches("/")
	for target, want := range map[string]int{"/": 501, "/other": 501, "/traced": 200, "/traced/x?y": 200} {
		if got := verbatim(t, http.MethodTrace, "a.example.com", target).StatusCode; got != want {
			t.Errorf("TRACE %s: got %d, want %d", target, got, want)
		}
	}
	if got := verbatim(t, http.MethodTrace, "other.example.com", "/").StatusCode; got != http.StatusNotImplemented {
		t.Errorf("TRACE of a host without routes: got %d, want 501", got)
	}
	if got := verbatim(t, http.MethodGet, "a.example.com", "/traced").StatusCode; got != http.StatusOK {
		t.Errorf("GET /traced: got %d, want 200", got)
	}
}

// TestTrailingDotOfHosts sends hosts as absolute names. They mean the same hosts, and the hosts' own routes answer
// rather than the catch-all. The backend gets them without the dot. With more dots they are invalid names, which nobody
// serves.
func TestTrailingDotOfHosts(t *testing.T) {
	for _, scoped := range []bool{false, true} {
		t.Run(fmt.Sprintf("scoped %t", scoped), func(t *testing.T) {
			c := startTranslated(t, scoped)
			all := c.route("all", nil)
			all.Spec.Hostnames, all.Spec.Rules[0].BackendRefs[0].Name = nil, "all"
			c.apply(c.behind("all", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_,
					_ = io.WriteString(w, "catch-all")
			}))...)
			c.apply(all, c.route("a.example.com", nil))
			c.serves(proxyPort, "a.example.com")
			for host, want := range map[string]string{
				"a.example.com.": "200 a.example.com", "a.example.com.:80": "200 a.example.com:80",
				"a.example.com.:8443": "200 a.example.com:8443", "a.example.com": "200 a.example.com",
			} {
				if got := ask(t, proxyPort, host); got != want {
					t.Errorf("Host %s: got %q, want %q", host, got, want)
				}
			}
			for _, host := range []string{"a.example.com..", "a.example.com..:80", "A.example.com..."} {
				if got := verbatim(t, http.MethodGet, host, "/").StatusCode; got != http.StatusNotFound {
					t.Errorf("Host %s: got %d, want 404", host, got)
				}
			}
		})
	}
}

// TestTrailingDotOverTLS sends absolute names to a listener with TLS: its own host, and the host of another listener,
// which it does not serve.
func TestTrailingDotOverTLS(t *testing.T) {
	c := startTranslated(t, false)
	own, other := gwapiv1.Hostname("a.example.com"), gwapiv1.Hostname("b.example.com")
	c.apply(c.httpsGateway(gwapiv1.Listener{Name: "a", Port: 443, Hostname: &own},
		gwapiv1.Listener{Name: "b", Port: 443, Hostname: &other}),
		c.secret("server", newAuthority(t).issue("a.example.com", "b.example.com")), c.route("a.example.com", nil),
		c.route("b.example.com", nil))
	envoytest.WaitFor(t, "the listener", func() bool {
		return askTLS(t, 10443, "a.example.com",
			"a.example.com") == "200"
	})
	for host, want := range map[string]string{
		"a.example.com.": "200", "b.example.com.": "421", "b.example.com": "421",
		"c.example.com.": "404",
	} {
		if got := askTLS(t, 10443, "a.example.com", host); got != want {
			t.Errorf("Host %s over a connection for a.example.com: got %s, want %s", host, got, want)
		}
	}
}
