package withenvoy

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
)

// traffic is a policy with a spec in YAML on a route or a Gateway.
func (c *translated) traffic(kind gwapiv1.Kind, target, spec string) *v1alpha1.BackendTrafficPolicy {
	c.t.Helper()
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: c.meta(target)}
	if err := yaml.UnmarshalStrict([]byte("spec: "+spec), p); err != nil {
		c.t.Fatal(err)
	}
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
			Group: gwapiv1.GroupName, Kind: kind, Name: gwapiv1.ObjectName(target),
		},
	}}
	return p
}

// policied are the hosts of the scene, each with the policy of its route.
var policied = map[string]string{
	"compress":   "{compressor: [{type: Brotli, minContentLength: 1Ki}, {type: Gzip}, {type: Zstd}]}",
	"abort":      "{faultInjection: {abort: {httpStatus: 418}}}",
	"spared":     "{faultInjection: {abort: {httpStatus: 418, percentage: 0}}}",
	"grpc":       "{faultInjection: {abort: {grpcStatus: 14}}}",
	"delay":      "{faultInjection: {delay: {fixedDelay: 500ms}}}",
	"buffer":     "{requestBuffer: {limit: 1Mi}}",
	"slow":       "{bandwidthLimit: {request: {limit: {value: 64Ki, unit: Second}}, response: {limit: {value: 128Ki, unit: Second}, responseTrailers: {prefix: x}}}}",
	"admission":  "{admissionControl: {samplingWindow: 10s}}",
	"criteria":   "{admissionControl: {successCriteria: {http: {statusCodes: [500]}}}}",
	"upgrade":    "{httpUpgrade: [{type: spdy/3.1}]}",
	"tunnel":     "{httpUpgrade: [{type: websocket}, {type: CONNECT, connect: {terminate: true}}]}",
	"proxy":      "{httpUpgrade: [{type: CONNECT}]}",
	"override":   overriding,
	"limited":    "{rateLimit: {local: {rules: [{limit: {requests: 2, unit: Year}}]}}}",
	"each":       "{rateLimit: {local: {rules: [{clientSelectors: [{headers: [{name: x-user, type: Distinct}]}], limit: {requests: 1, unit: Year}}]}}}",
	"slowly":     "{faultInjection: {delay: {fixedDelay: 200ms}}, requestBuffer: {limit: 64Ki}}",
	"everything": "{compressor: [{type: Gzip}], faultInjection: {delay: {fixedDelay: 100ms}}, requestBuffer: {limit: 64Ki}, bandwidthLimit: {request: {limit: {value: 1Mi, unit: Second}}}, rateLimit: {local: {rules: [{limit: {requests: 5, unit: Year}}]}}}",
}

// text is a response that can be compressed.
var text = strings.Repeat("Gatehouse compresses what repeats itself. ", 5000)

// asked is how many requests a backend got, by host.
type asked struct {
	counts map[string]*atomic.Int32
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	count := a.counts[strings.SplitN(r.Host, ".", 2)[0]]
	if count != nil {
		count.Add(1)
	}
	w.Header().Set("X-Accepted", r.Header.Get("Accept-Encoding"))
	w.Header().Set("Content-Type", "text/plain")
	if r.Method == http.MethodConnect {
		upgrade(w, r)
		return
	}
	if code, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
		_ = http.NewResponseController(w).EnableFullDuplex() // Answers before the end of the request.
		w.Header().Set("X-Error", r.URL.Query().Get("error"))
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "of the backend")
		return
	}
	switch r.URL.Path {
	case "/upgrade":
		upgrade(w, r)
	case "/text":
		_, _ = io.WriteString(w, text)
	case "/fail":
		w.WriteHeader(http.StatusInternalServerError)
	case "/count":
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	default:
		_, _ = io.WriteString(w, "a short text, of few bytes")
	}
}

// startTraffic serves the hosts of the scene on a listener, and below asks.test on another one with filters, through
// which each request passes all HTTP filters. Both have a host without a policy: plain.
func startTraffic(t *testing.T) (*translated, *asked) {
	c := startTranslated(t, false)
	g := c.gateway(false, 80, 80)
	asks := gwapiv1.SectionName("asks")
	g.Spec.Listeners[1].Name, g.Spec.Listeners[1].Hostname = asks, new(gwapiv1.Hostname("*.asks.test"))
	g.Spec.Listeners[1].Filters = &gwapiv1.ListenerFilters{Requests: []gwapiv1.ListenerFilter{{
		Type: gwapiv1.ListenerFilterExternalAuth, ExternalAuth: asking("yes", "X-Order", 0),
	}}}
	c.apply(g)
	a := &asked{counts: map[string]*atomic.Int32{"plain": {}}}
	for host := range policied {
		a.counts[host] = &atomic.Int32{}
	}
	c.apply(c.behind("asked", a)...)
	c.apply(c.behind("yes", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))...)
	for _, below := range []string{".test", ".asks.test"} {
		for host := range a.counts {
			route := c.route(host+below, nil)
			route.Spec.Rules[0].BackendRefs[0].Name = "asked"
			c.apply(route)
			if spec := policied[host]; spec != "" {
				c.apply(c.traffic("HTTPRoute", host+below, spec))
			}
		}
	}
	c.apply(&corev1.ConfigMap{ObjectMeta: c.meta("page"), Data: map[string]string{"response.body": "A page for %RESPONSE_CODE%, 100% sure."}})
	c.apply(&corev1.ConfigMap{ObjectMeta: c.meta("only"), Data: map[string]string{"only.txt": "The only page."}})
	c.apply(c.route("last.test", nil))
	c.serves(proxyPort, "last.test")
	c.quiet()
	return c, a
}

// post sends a body.
func post(t *testing.T, host, path string, body []byte, headers ...string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		fmt.Sprintf("http://127.0.0.1:%d%s", proxyPort, path), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	request.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := (&http.Client{Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		t.Fatalf("%s%s: %v", host, path, err)
	}
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s%s: %v", host, path, err)
	}
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(content))
	return response
}

// read is the body of a response.
func read(t *testing.T, r *http.Response) string {
	t.Helper()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestBackendTraffic sends requests to routes with a policy for each thing that a BackendTrafficPolicy does to requests,
// on a listener without filters and on one with filters.
func TestBackendTraffic(t *testing.T) {
	_, a := startTraffic(t)
	for _, below := range []string{".test", ".asks.test"} {
		t.Run("below "+below, func(t *testing.T) {
			t.Run("compressor", func(t *testing.T) { compresses(t, below) })
			t.Run("faultInjection", func(t *testing.T) { injects(t, below) })
			t.Run("requestBuffer", func(t *testing.T) { buffers(t, a, below) })
			t.Run("bandwidthLimit", func(t *testing.T) { slows(t, below) })
			t.Run("admissionControl", func(t *testing.T) { rejects(t, a, below) })
			t.Run("rateLimit", func(t *testing.T) { limits(t, below) })
			t.Run("responseOverride", func(t *testing.T) { overrides(t, below) })
			t.Run("httpUpgrade", func(t *testing.T) { upgrades(t, below) })
			t.Run("everything", func(t *testing.T) { together(t, below) })
		})
	}
}

func compresses(t *testing.T, below string) {
	for _, tc := range []struct{ host, path, accepted, coding string }{
		{"compress", "/text", "gzip", "gzip"},
		{"compress", "/text", "br", "br"},
		{"compress", "/text", "zstd", "zstd"},
		{"compress", "/text", "gzip, zstd, br", "br"},
		{"compress", "/text", "gzip, br;q=0.5", "gzip"},
		{"compress", "/text", "identity", ""},
		{"compress", "/short", "br", ""},
		{"plain", "/text", "gzip", ""},
	} {
		response := post(t, tc.host+below, tc.path, nil, "Accept-Encoding", tc.accepted)
		body, coding := read(t, response), response.Header.Get("Content-Encoding")
		if coding != tc.coding {
			t.Errorf("%s%s for %q has coding %q, want %q", tc.host, tc.path, tc.accepted, coding, tc.coding)
		}
		if tc.path == "/text" && (len(body) < len(text)/10) != (tc.coding != "") {
			t.Errorf("%s%s for %q has %d of %d bytes", tc.host, tc.path, tc.accepted, len(body), len(text))
		}
		if got := response.Header.Get("X-Accepted"); tc.host == "compress" && got != "" {
			t.Errorf("the backend learns that the client takes %q", got)
		}
		if coding == "gzip" {
			unpacked, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if content, err := io.ReadAll(unpacked); err != nil || string(content) != text {
				t.Errorf("%d bytes are not the text: %v", len(content), err)
			}
		}
	}
}

func injects(t *testing.T, below string) {
	for host, want := range map[string]int{"abort": 418, "spared": 200, "plain": 200} {
		if got := post(t, host+below, "/", nil).StatusCode; got != want {
			t.Errorf("%s: got %d, want %d", host, got, want)
		}
	}
	response := post(t, "grpc"+below, "/", nil, "Content-Type", "application/grpc")
	if got := response.Header.Get("Grpc-Status"); got != "14" {
		t.Errorf("the status of gRPC is %q", got)
	}
	before := time.Now()
	if got := post(t, "delay"+below, "/", nil).StatusCode; got != 200 || time.Since(before) < 400*time.Millisecond {
		t.Errorf("a delayed request gets %d after %v", got, time.Since(before))
	}
}

func buffers(t *testing.T, a *asked, below string) {
	for size, want := range map[int]string{10: "10", 600 << 10: "614400"} {
		if response := post(t, "buffer"+below, "/count", make([]byte, size)); response.StatusCode != 200 {
			t.Errorf("a body of %d bytes gets %d", size, response.StatusCode)
		} else if got := read(t, response); got != want {
			t.Errorf("of %d bytes, the backend gets %s", size, got)
		}
	}
	if got := post(t, "buffer"+below, "/count", make([]byte, 1<<20+1)).StatusCode; got != http.StatusRequestEntityTooLarge {
		t.Errorf("a body that is too large gets %d", got)
	}
	if got := post(t, "plain"+below, "/count", make([]byte, 2<<20)).StatusCode; got != 200 {
		t.Errorf("without a policy, a large body gets %d", got)
	}
	for host, forwarded := range map[string]int32{"buffer": 0, "plain": 1} {
		before := a.counts[host].Load()
		_ = stall(t, "POST /count HTTP/1.1\r\nHost: "+host+below+"\r\nContent-Length: 10\r\n\r\nhalf")
		if got := a.counts[host].Load() - before; got != forwarded {
			t.Errorf("of half a request to %s, the backend gets %d", host, got)
		}
	}
}

func slows(t *testing.T, below string) {
	took := func(host, path string, body []byte) time.Duration {
		before := time.Now()
		if got := post(t, host+below, path, body).StatusCode; got != 200 {
			t.Errorf("%s%s: got %d", host, path, got)
		}
		return time.Since(before)
	}
	request := make([]byte, 128<<10)
	for path, body := range map[string][]byte{"/text": nil, "/count": request} {
		fast, slow := took("plain", path, body), took("slow", path, body)
		if slow < 5*fast {
			t.Errorf("%s takes %v with a limit, and %v without", path, slow, fast)
		}
	}
}

func rejects(t *testing.T, a *asked, below string) {
	const sent = 300
	for host, fewer := range map[string]bool{"admission": true, "criteria": false} {
		before := a.counts[host].Load()
		for range sent {
			_ = post(t, host+below, "/fail", nil)
		}
		if got := a.counts[host].Load() - before; (got < sent*3/4) != fewer {
			t.Errorf("%s: of %d requests that fail, the backend gets %d", host, sent, got)
		}
	}
}

func limits(t *testing.T, below string) {
	var codes []int
	for range 4 {
		codes = append(codes, post(t, "limited"+below, "/", nil).StatusCode)
	}
	if got := fmt.Sprint(codes); got != "[200 200 429 429]" {
		t.Errorf("two requests a year: got %s", got)
	}
	long := strings.Repeat("a", 256)
	for _, tc := range []struct {
		user string
		want int
	}{{"ann", 200}, {"bob", 200}, {"ann", 429}, {long + "a", 200}, {long + "b", 429}, {long[1:] + "b", 200}} {
		if got := post(t, "each"+below, "/", nil, "X-User", tc.user).StatusCode; got != tc.want {
			t.Errorf("user %q: got %d, want %d", tc.user, got, tc.want)
		}
	}
}

func together(t *testing.T, below string) {
	if below == ".test" { // With filters of a listener, Envoy may have stopped reading before it meets the buffer.
		for _, size := range []int{65 << 10, 200 << 10} {
			if got := post(t, "everything"+below, "/text", make([]byte, size)).StatusCode; got != 413 {
				t.Errorf("a body of %d bytes gets %d", size, got)
			}
		}
		if got := post(t, "slowly"+below, "/count", make([]byte, 60<<10)).StatusCode; got != 200 {
			t.Errorf("a delayed body below the limit gets %d", got)
		}
	}
	large := 60 << 10
	if below != ".test" {
		large = 30 << 10
	}
	for i, tc := range []struct{ size, want int }{{10, 200}, {large, 200}, {10, 200}, {10, 200}, {10, 200}, {10, 429}} {
		before := time.Now()
		response := post(t, "everything"+below, "/text", make([]byte, tc.size), "Accept-Encoding", "gzip")
		if response.StatusCode != tc.want || time.Since(before) < 50*time.Millisecond {
			t.Errorf("request %d gets %d after %v, want %d", i, response.StatusCode, time.Since(before), tc.want)
		}
		if body := read(t, response); tc.want == 200 && len(body) > len(text)/10 {
			t.Errorf("request %d gets %d bytes", i, len(body))
		}
	}
}
