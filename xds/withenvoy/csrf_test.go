package withenvoy

import (
	"net/http"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// TestCSRF sends what browsers send for pages of the host, of other origins and of strangers, and what no browser sends.
func TestCSRF(t *testing.T) {
	c := startTranslated(t, false)
	policy := &v1alpha1.SecurityPolicy{ObjectMeta: c.meta("pages")}
	policy.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{Group: gwapiv1.GroupName, Kind: "HTTPRoute"},
	}}
	policy.Spec.CSRF = &v1alpha1.CSRF{AdditionalOrigins: []v1alpha1.Origin{
		"https://admin.test:443", "http://*.partner.test:8080",
	}}
	route := c.route("shop.test", nil)
	policy.Spec.TargetRefs[0].Name = gwapiv1.ObjectName(route.Name)
	c.apply(route, policy, c.route("open.test", nil))
	c.serves(proxyPort, "open.test")
	ask := func(method, host string, lines ...string) int {
		t.Helper()
		response := verbatim(t, method, host, "/", lines...)
		defer response.Body.Close()
		return response.StatusCode
	}
	envoytest.WaitFor(t, "the policy", func() bool { return ask(http.MethodPost, "shop.test") == http.StatusForbidden })
	for _, tc := range []struct {
		method, line string
		want         int
	}{
		{http.MethodGet, "X-A: b", 200},
		{http.MethodGet, "Origin: https://stranger.test", 200},
		{http.MethodOptions, "Origin: https://stranger.test", 200},
		{http.MethodPost, "X-A: b", 403},
		{http.MethodPost, "Origin: https://stranger.test", 403},
		{http.MethodPost, "Origin: null", 403},
		{http.MethodPut, "Origin: https://stranger.test", 403},
		{http.MethodPatch, "Origin: https://stranger.test", 403},
		{http.MethodDelete, "Origin: https://stranger.test", 403},
		{http.MethodPost, "Origin: http://shop.test", 200},
		{http.MethodPost, "Origin: https://shop.test.stranger.test", 403},
		{http.MethodPost, "Origin: https://admin.test", 200},
		{http.MethodPost, "Origin: http://admin.test", 200}, // Schemes are ignored.
		{http.MethodPost, "Origin: https://admin.test:8443", 403},
		{http.MethodPost, "Origin: http://a.b.partner.test:8080", 200},
		{http.MethodPost, "Origin: http://a.partner.test", 403},
		{http.MethodPost, "Origin: http://partner.test:8080", 403},
		{http.MethodPost, "Referer: https://shop.test/cart?id=1", 200},
		{http.MethodPost, "Referer: https://stranger.test/shop.test", 403},
	} {
		if got := ask(tc.method, "shop.test", tc.line); got != tc.want {
			t.Errorf("%s with %q is answered %d, want %d", tc.method, tc.line, got, tc.want)
		}
	}
	if got := ask(http.MethodPost, "open.test", "Origin: https://stranger.test"); got != http.StatusOK {
		t.Errorf("a route without the policy answers %d", got)
	}
	counting := policy.DeepCopy()
	counting.Spec.CSRF.ShadowFraction = &gwapiv1.Fraction{Numerator: 100}
	counting.Generation++
	c.apply(counting)
	envoytest.WaitFor(t, "the policy that only counts", func() bool {
		return ask(http.MethodPost, "shop.test", "Origin: https://stranger.test") == http.StatusOK
	})
}
