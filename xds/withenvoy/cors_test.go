package withenvoy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// shared lets pages of an origin send PUT requests to a rule of echo.
func shared(path string, origin gwapiv1.CORSOrigin, headers ...gwapiv1.HTTPHeaderMatch) gwapiv1.HTTPRouteRule {
	rule := at(gwapiv1.PathMatchPathPrefix, path, gwapiv1.HTTPRouteFilter{
		Type: gwapiv1.HTTPRouteFilterCORS,
		CORS: &gwapiv1.HTTPCORSFilter{
			AllowOrigins: []gwapiv1.CORSOrigin{origin}, AllowMethods: []gwapiv1.HTTPMethodWithWildcard{"PUT"},
			AllowHeaders: []gwapiv1.HTTPHeaderName{"*"},
		},
	})
	rule.Matches[0].Headers = headers
	return rule
}

// TestPreflightsReachRulesThatMatchOnHeaders sends preflights as browsers do: without the headers of the later request,
// whose names are in a list.
func TestPreflightsReachRulesThatMatchOnHeaders(t *testing.T) {
	c := startTranslated(t, false)
	route := c.route("a.example.com", nil)
	header := func(name gwapiv1.HTTPHeaderName, value string) gwapiv1.HTTPHeaderMatch {
		return gwapiv1.HTTPHeaderMatch{Name: name, Value: value}
	}
	query := shared("/query", "https://one.test")
	query.Matches[0].QueryParams = []gwapiv1.HTTPQueryParamMatch{{Name: "t", Value: "a"}}
	both := shared("/both", "https://one.test", header("X-Tenant", "a"))
	both.Matches[0].Method = new(gwapiv1.HTTPMethodPut)
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{
		shared("/header", "https://one.test", header("X-Tenant", "a")), shared("/header", "https://two.test"), query, both,
		shared("/origin", "https://one.test", header("Origin", "https://one.test")),
		shared("/cookie", "https://one.test", header("cookie", "a=b")),
	}
	c.apply(route, c.route("last.test", nil))
	c.serves(proxyPort, "last.test")
	for _, tc := range []struct{ target, origin, headers, allowed string }{
		{"/header", "https://one.test", "x-tenant", "https://one.test"},
		{"/header", "https://one.test", "x-other, x-tenant,x-z", "https://one.test"},
		{"/header", "https://two.test", "x-tenant", ""},
		{"/header", "https://two.test", "x-tenant-id", "https://two.test"},
		{"/header", "https://two.test", "", "https://two.test"},
		{"/query?t=a", "https://one.test", "x-tenant", "https://one.test"},
		{"/both", "https://one.test", "x-tenant", "https://one.test"},
		{"/origin", "https://one.test", "", "https://one.test"},
		{"/cookie", "https://one.test", "", "https://one.test"},
	} {
		lines := []string{"Origin: " + tc.origin, "Access-Control-Request-Method: PUT"}
		if tc.headers != "" {
			lines = append(lines, "Access-Control-Request-Headers: "+tc.headers)
		}
		response := verbatim(t, http.MethodOptions, "a.example.com", tc.target, lines...)
		if got := response.Header.Get("Access-Control-Allow-Origin"); response.StatusCode != http.StatusOK ||
			got != tc.allowed {
			t.Errorf("%s from %s with headers %q: got %d and %q, want %q", tc.target, tc.origin, tc.headers, response.StatusCode,
				got, tc.allowed)
		}
	}
	if got := verbatim(t, http.MethodPut, "a.example.com", "/both", "Origin: https://one.test", "X-Tenant: a",
		"Content-Length: 0").StatusCode; got != http.StatusOK {
		t.Errorf("the request itself: got %d", got)
	}
}

// TestAnswersVaryByOrigin checks that all responses of a rule with CORS have Vary: Origin once, and that others do not.
func TestAnswersVaryByOrigin(t *testing.T) {
	c := startTranslated(t, false)
	c.apply(c.behind("varied", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Vary"] = r.Header.Values("Say")
		w.Header().Set("Access-Control-Allow-Origin", "https://backend.test")
		_, _ = io.WriteString(w, "varied")
	}))...)
	route := c.route("a.example.com", nil)
	own := shared("/own", "https://one.test")
	own.BackendRefs[0].Name = "varied"
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{
		shared("/shared", "https://one.test"), own,
		at(gwapiv1.PathMatchPathPrefix, "/plain"),
	}
	c.apply(route, c.route("last.test", nil))
	c.serves(proxyPort, "last.test")
	const preflight, one, other = "Access-Control-Request-Method: PUT", "Origin: https://one.test",
		"Origin: https://other.test"
	for _, tc := range []struct {
		method, target string
		lines          []string
		vary, allowed  string
	}{
		{http.MethodGet, "/shared", []string{one}, "Origin", "https://one.test"},
		{http.MethodGet, "/shared", []string{other}, "Origin", ""},
		{http.MethodGet, "/shared", nil, "Origin", ""},
		{http.MethodOptions, "/shared", []string{one, preflight}, "Origin", "https://one.test"},
		{http.MethodOptions, "/shared", []string{other, preflight}, "Origin", ""},
		{http.MethodGet, "/own", []string{one, "Say: Accept-Encoding"}, "Accept-Encoding,Origin", "https://one.test"},
		{http.MethodGet, "/own", []string{one, "Say: X-Origin, Origin-X"}, "X-Origin, Origin-X,Origin", "https://one.test"},
		{http.MethodGet, "/own", []string{one, "Say: Origin"}, "Origin", "https://one.test"},
		{http.MethodGet, "/own", []string{one, "Say: Accept , oRIGIN,Cookie"}, "Accept , oRIGIN,Cookie", "https://one.test"},
		{http.MethodGet, "/own", []string{one, "Say: Accept", "Say: Origin"}, "Accept,Origin", "https://one.test"},
		{http.MethodGet, "/plain", []string{one}, "", ""},
	} {
		response := verbatim(t, tc.method, "a.example.com", tc.target, tc.lines...)
		vary, allowed := strings.Join(response.Header.Values("Vary"), ","),
			strings.Join(response.Header.Values("Access-Control-Allow-Origin"), ",")
		if vary != tc.vary || allowed != tc.allowed {
			t.Errorf("%s %s %q: got Vary %q for %q, want %q for %q", tc.method, tc.target, tc.lines, vary, allowed, tc.vary,
				tc.allowed)
		}
	}
}
