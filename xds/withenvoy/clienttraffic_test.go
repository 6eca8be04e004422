package withenvoy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// clients is a policy on the listener of port 80.
func (c *translated) clients(spec v1alpha1.ClientTrafficPolicySpec) *v1alpha1.ClientTrafficPolicy {
	spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
			Group: gwapiv1.GroupName, Kind: "Gateway",
			Name: "web",
		},
		SectionName: new(gwapiv1.SectionName("on-80")),
	}}
	return &v1alpha1.ClientTrafficPolicy{ObjectMeta: c.meta("clients"), Spec: spec}
}

// TestClientTraffic sends requests to a listener while a policy for it comes, changes, breaks and goes.
func TestClientTraffic(t *testing.T) {
	c := startTranslated(t, false)
	var attempts atomic.Int32
	c.apply(c.behind("seen", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil && r.Method == http.MethodPost && attempts.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s", r.RequestURI, r.Header["X_user"])
	}))...)
	route := c.route("seen.test", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "seen"
	route.Spec.Rules[0].Retry = &gwapiv1.HTTPRouteRetry{Attempts: new(2), Codes: []gwapiv1.HTTPRouteRetryStatusCode{500}}
	c.apply(route, c.route("open.test", nil))
	c.serves(proxyPort, "open.test")
	post := func() int {
		attempts.Store(0)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			fmt.Sprintf("http://127.0.0.1:%d/", proxyPort), bytes.NewReader(make([]byte, 100*1024)))
		if err != nil {
			t.Fatal(err)
		}
		request.Host, request.Close = "seen.test", true
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	tuned := v1alpha1.ClientTrafficPolicySpec{
		Path: &v1alpha1.PathSettings{
			EscapedSlashesAction: new(v1alpha1.KeepUnchangedAction),
			DisableMergeSlashes:  new(true),
		},
		Headers:    &v1alpha1.HeaderSettings{WithUnderscoresAction: new(v1alpha1.WithUnderscoresActionAllow)},
		Connection: &v1alpha1.ClientConnection{BufferLimit: new(resource.MustParse("256Ki"))},
	}
	strict := v1alpha1.ClientTrafficPolicySpec{
		Path:    &v1alpha1.PathSettings{EscapedSlashesAction: new(v1alpha1.RejectRequestAction)},
		Headers: &v1alpha1.HeaderSettings{WithUnderscoresAction: new(v1alpha1.WithUnderscoresActionDropHeader)},
	}
	broken := v1alpha1.ClientTrafficPolicySpec{Path: &v1alpha1.PathSettings{EscapedSlashesAction: new(v1alpha1.PathEscapedSlashAction("Guess"))}}
	for _, step := range []struct {
		what                       string
		spec                       *v1alpha1.ClientTrafficPolicySpec
		escaped, slashes, headered string
		post                       int
	}{
		{"no policy", nil, "307", "/a/b []", "400", 500},
		{"tuned", &tuned, "/a%2Fb []", "/a//b []", "/ [admin]", 200},
		{"strict", &strict, "400", "/a/b []", "/ []", 500},
		{"broken", &broken, "307", "500", "400", 500},
		{"gone", nil, "307", "/a/b []", "400", 500},
	} {
		switch {
		case step.spec != nil:
			c.apply(c.clients(*step.spec))
		case step.what == "gone":
			c.delete(c.clients(broken))
		}
		envoytest.WaitFor(t, step.what, func() bool {
			return got(t, "/a%2Fb") == step.escaped && got(t, "/a//b") == step.slashes &&
				got(t, "/", "X_User: admin") == step.headered
		})
		if status := post(); status != step.post {
			t.Errorf("%s: a large body that fails once gets %d, want %d", step.what, status, step.post)
		}
	}
}

// got returns the body of a response, or its status if that is not 200.
func got(t *testing.T, target string, headers ...string) string {
	t.Helper()
	response := verbatim(t, http.MethodGet, "seen.test", target, headers...)
	if response.StatusCode != http.StatusOK {
		return fmt.Sprint(response.StatusCode)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestClientTimeouts lets a client stop in the middle of a request's headers, and in the middle of its body. By default
// Envoy would wait longer than the test does.
func TestClientTimeouts(t *testing.T) {
	c := startTranslated(t, false)
	c.apply(c.behind("seen", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_,
			_ = io.Copy(io.Discard, r.Body)
	}))...)
	route := c.route("seen.test", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "seen"
	route.Spec.Rules[0].Timeouts = &gwapiv1.HTTPRouteTimeouts{Request: new(gwapiv1.Duration("1m"))}
	c.apply(route, c.route("open.test", nil))
	c.serves(proxyPort, "open.test")
	const head = "POST / HTTP/1.1\r\nHost: seen.test\r\n"
	for _, tc := range []struct {
		what, sent string
		http       v1alpha1.HTTPClientTimeout
	}{
		{"headers", head, v1alpha1.HTTPClientTimeout{RequestHeadersReceivedTimeout: new(gwapiv1.Duration("200ms"))}},
		{
			"whole request", head + "Content-Length: 10\r\n\r\nhalf",
			v1alpha1.HTTPClientTimeout{RequestReceivedTimeout: new(gwapiv1.Duration("200ms"))},
		},
		{
			"idle stream", head + "Content-Length: 10\r\n\r\nhalf",
			v1alpha1.HTTPClientTimeout{StreamIdleTimeout: new(gwapiv1.Duration("200ms"))},
		},
	} {
		c.apply(c.clients(v1alpha1.ClientTrafficPolicySpec{Timeout: &v1alpha1.ClientTimeout{HTTP: &tc.http}}))
		envoytest.WaitFor(t, tc.what, func() bool { return stall(t, tc.sent) == http.StatusRequestTimeout })
	}
}

// stall sends a part of a request and returns the status of the response, 0 if there is none within 2s.
func stall(t *testing.T, sent string) int {
	t.Helper()
	conn := connect(t, 2*time.Second)
	defer func() { _ = conn.Close() }()
	if _, err := io.Copy(conn, strings.NewReader(sent)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}
