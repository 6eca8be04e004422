package withenvoy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestAuthorizationServersGetBodies sends an authorization server the longest allowed bodies, which are much longer
// than what Envoy keeps of other requests.
func TestAuthorizationServersGetBodies(t *testing.T) {
	const longest = 1 << 20
	c := startTranslated(t, false)
	var shown, served atomic.Int64
	reading := func(n *atomic.Int64) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			length, _ := io.Copy(io.Discard, r.Body)
			n.Store(length)
		})
	}
	c.apply(append(c.behind("auth", reading(&shown)), c.behind("app", reading(&served))...)...)
	route := c.route("a.example.com", nil)
	auth := &gwapiv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: gwapiv1.HTTPRouteExternalAuthHTTPProtocol, HTTPAuthConfig: &gwapiv1.HTTPAuthConfig{},
		ForwardBody: &gwapiv1.ForwardBodyConfig{MaxSize: longest},
	}
	auth.BackendRef.Name, auth.BackendRef.Port = "auth", new(int32(80))
	route.Spec.Rules[0].Filters = []gwapiv1.HTTPRouteFilter{{
		Type:         gwapiv1.HTTPRouteFilterExternalAuth,
		ExternalAuth: auth,
	}}
	route.Spec.Rules[0].BackendRefs[0].Name = "app"
	c.apply(route)
	c.reaches("/")
	post := func(length int) int {
		t.Helper()
		shown.Store(-1)
		served.Store(-1)
		request, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/", proxyPort),
			strings.NewReader(strings.Repeat("x", length)))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "a.example.com"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	check := func() {
		t.Helper()
		if code := post(longest); code != http.StatusOK || shown.Load() != longest || served.Load() != longest {
			t.Errorf("answered %d; the authorization server saw %d bytes, the backend %d, of %d", code, shown.Load(),
				served.Load(), longest)
		}
		if code := post(longest + 1); code != http.StatusRequestEntityTooLarge || shown.Load() != -1 || served.Load() != -1 {
			t.Errorf("one byte more is answered %d; the authorization server saw %d bytes, the backend %d", code, shown.Load(),
				served.Load())
		}
	}
	check()
	// A header that is removed before changes nothing of that.
	auth.HTTPAuthConfig.AllowedResponseHeaders = []string{"X-User"}
	c.apply(route.DeepCopy())
	c.quiet()
	check()
}
