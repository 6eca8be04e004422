package withenvoy

import (
	"fmt"
	"net/http"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestBackendsGetTheirHost has a rule and one of its backends rewrite the host.
func TestBackendsGetTheirHost(t *testing.T) {
	c := startTranslated(t, false)
	host := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", r.Host, r.Header.Get("X-Forwarded-Host"))
	})
	c.apply(append(c.behind("own", host), c.behind("other", host)...)...)
	route := c.route("a.example.com", nil)
	rewrite := func(host gwapiv1.PreciseHostname) []gwapiv1.HTTPRouteFilter {
		return []gwapiv1.HTTPRouteFilter{{Type: gwapiv1.HTTPRouteFilterURLRewrite, URLRewrite: &gwapiv1.HTTPURLRewriteFilter{Hostname: &host}}}
	}
	rule := &route.Spec.Rules[0]
	matched(rule, "/one", "")
	rule.BackendRefs[0].Name, rule.BackendRefs[0].Filters = "own", rewrite("own.internal")
	both := *rule.DeepCopy()
	matched(&both, "/both", "")
	both.Filters = rewrite("rule.internal")
	both.BackendRefs = append(both.BackendRefs, *both.BackendRefs[0].DeepCopy())
	both.BackendRefs[1].Name, both.BackendRefs[1].Filters = "other", nil
	route.Spec.Rules = append(route.Spec.Rules, both)
	c.apply(route)
	c.reaches("/both")
	if got := content(exchange(t, http.MethodGet, "/one")); got != "own.internal a.example.com" {
		t.Errorf("the backend got %q", got)
	}
	got := map[string]bool{}
	for range 50 {
		got[content(exchange(t, http.MethodGet, "/both"))] = true
	}
	if len(got) != 2 || !got["own.internal a.example.com"] || !got["rule.internal a.example.com"] {
		t.Errorf("the backends got %v", got)
	}
}
