package withenvoy

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// prefixed replaces the prefix of paths, whole replaces the whole path.
func prefixed(path string) gwapiv1.HTTPRouteFilter {
	return gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterURLRewrite, URLRewrite: &gwapiv1.HTTPURLRewriteFilter{
		Path: &gwapiv1.HTTPPathModifier{Type: gwapiv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: &path},
	}}
}

func whole(path string) gwapiv1.HTTPRouteFilter {
	return gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterURLRewrite, URLRewrite: &gwapiv1.HTTPURLRewriteFilter{
		Path: &gwapiv1.HTTPPathModifier{Type: gwapiv1.FullPathHTTPPathModifier, ReplaceFullPath: &path},
	}}
}

// weighing is a backendRef with a weight and filters.
func weighing(name gwapiv1.ObjectName, weight int32, filters ...gwapiv1.HTTPRouteFilter) gwapiv1.HTTPBackendRef {
	b := gwapiv1.HTTPBackendRef{Filters: filters}
	b.Name, b.Port, b.Weight = name, new(int32(80)), &weight
	return b
}

// TestBackendsGetTheirPath tests backends that each get their own path.
func TestBackendsGetTheirPath(t *testing.T) {
	c := startTranslated(t, false)
	var attempts atomic.Int32
	answering := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.RequestURI, "/again") && attempts.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = fmt.Fprintf(w, "%s %s", name, r.RequestURI)
		})
	}
	c.apply(append(c.behind("a", answering("a")), c.behind("b", answering("b"))...)...)
	route := c.route("a.example.com", nil)
	rule := func(path string, filters []gwapiv1.HTTPRouteFilter,
		backends ...gwapiv1.HTTPBackendRef,
	) *gwapiv1.HTTPRouteRule {
		r := at(gwapiv1.PathMatchPathPrefix, path, filters...)
		r.BackendRefs = backends
		route.Spec.Rules = append(route.Spec.Rules, r)
		return &route.Spec.Rules[len(route.Spec.Rules)-1]
	}
	route.Spec.Rules = nil
	byRule := []gwapiv1.HTTPRouteFilter{prefixed("/rule")}
	rule("/full", byRule, weighing("a", 1, whole("/new")))
	rule("/prefix", nil, weighing("a", 1, prefixed("/")))
	rule("/men%c3%bc", nil, weighing("a", 1, prefixed(`/n\1ew/`)))
	rule("/retried", nil, weighing("a", 1, prefixed("/again"))).Retry = &gwapiv1.HTTPRouteRetry{
		Attempts: new(2), Codes: []gwapiv1.HTTPRouteRetryStatusCode{503},
	}
	rule("/shared", byRule, weighing("a", 1, prefixed("/one")), weighing("a", 2, prefixed("/two")), weighing("b", 4),
		weighing("gone", 1))
	cors := gwapiv1.HTTPRouteFilter{
		Type: gwapiv1.HTTPRouteFilterCORS,
		CORS: &gwapiv1.HTTPCORSFilter{AllowOrigins: []gwapiv1.CORSOrigin{"https://example.org"}},
	}
	rule("/asked", []gwapiv1.HTTPRouteFilter{cors}, weighing("a", 1, prefixed("/one")),
		weighing("b", 1)).Matches[0].Method = new(gwapiv1.HTTPMethodPut)
	c.apply(route)
	c.reaches("/full")

	for target, want := range map[string]string{
		"/full/x?q=%41": "a /new?q=%41", "/prefix/x?q": "a /x?q", "/prefix": "a /",
		"/men%C3%bC/x": `a /n\1ew/x`, "/retried/x": "a /again/x",
	} {
		if got := content(verbatim(t, http.MethodGet, "a.example.com", target)); got != want {
			t.Errorf("%s: the backend got %q, want %q", target, got, want)
		}
	}
	const requests = 1600
	got := map[string]int{}
	for range requests {
		response := exchange(t, http.MethodGet, "/shared/x")
		got[fmt.Sprint(response.StatusCode, " ", content(response))]++
	}
	for answer, weight := range map[string]int{"200 a /one/x": 1, "200 a /two/x": 2, "200 b /rule/x": 4, "500 ": 1} {
		// Six standard deviations of a binomial distribution are at most 120: one in a billion runs is further off.
		if n, want := got[answer], requests*weight/8; n < want-120 || n > want+120 {
			t.Errorf("%q came %d times, want about %d of %d", answer, n, want, requests)
		}
	}
	for range 20 {
		preflight := exchange(t, http.MethodOptions, "/asked", "Origin", "https://example.org",
			"Access-Control-Request-Method", "PUT")
		if got := preflight.Header.Get("Access-Control-Allow-Origin"); got != "https://example.org" {
			t.Fatalf("a preflight is answered %d, for origin %q", preflight.StatusCode, got)
		}
	}
}
