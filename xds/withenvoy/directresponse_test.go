package withenvoy

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/translator"
)

// startAnswers serves filters.test with rules that answer by themselves.
func startAnswers(t *testing.T) (*translated, *corev1.ConfigMap) {
	c := startTranslated(t, false)
	c.apply(c.behind("a", told("a"))...)
	page := &corev1.ConfigMap{ObjectMeta: c.meta("page"), Data: map[string]string{"response.body": strings.Repeat("<", feature.MaxBody)}}
	c.apply(
		page, c.routeFilter("hello", `{directResponse: {body: {inline: "You asked for %REQ(:path)%, 100 %."}}}`),
		c.routeFilter("closed", `{directResponse: {statusCode: 503, contentType: text/html, `+
			`body: {type: ValueRef, valueRef: {group: "", kind: ConfigMap, name: page}}, `+
			`header: {set: [{name: retry-after, value: "600"}], add: [{name: x-path, value: "%REQ(:path)%"}, {name: x-path, value: "5 %"}]}}}`),
		c.routeFilter("empty", `{directResponse: {statusCode: 204}}`),
		c.routeFilter("unavailable", `{directResponse: {statusCode: 503, body: {inline: "later"}}}`),
	)
	route := c.route("filters.test", nil)
	route.Spec.Rules = nil
	for path, filter := range map[string]string{"/hello": "hello", "/closed": "closed", "/empty": "empty"} {
		rule := at(gwapiv1.PathMatchPathPrefix, path, referring(filter)...)
		if rule.BackendRefs = nil; filter == "hello" {
			rule.BackendRefs = []gwapiv1.HTTPBackendRef{weighing("a", 1)}
		}
		route.Spec.Rules = append(route.Spec.Rules, rule)
	}
	grpc := &gwapiv1.GRPCRoute{ObjectMeta: c.meta("grpc"), Spec: gwapiv1.GRPCRouteSpec{
		CommonRouteSpec: route.Spec.CommonRouteSpec, Hostnames: []gwapiv1.Hostname{"grpc.test"},
		Rules: []gwapiv1.GRPCRouteRule{{Filters: []gwapiv1.GRPCRouteFilter{{
			Type: gwapiv1.GRPCRouteFilterExtensionRef, ExtensionRef: referring("unavailable")[0].ExtensionRef,
		}}}},
	}}
	c.apply(route, grpc, c.route("last.test", nil))
	c.serves(proxyPort, "last.test")
	c.quiet()
	return c, page
}

// TestDirectResponses: rules answer as their HTTPRouteFilters say, with a body of the largest size too. Without its body,
// a rule answers 500.
func TestDirectResponses(t *testing.T) {
	c, page := startAnswers(t)
	for _, tc := range []struct {
		path       string
		status     int
		kind, body string
	}{
		{"/hello/you", 200, "text/plain", "You asked for /hello/you, 100 %."},
		{"/closed", 503, "text/html", page.Data["response.body"]},
		{"/empty", 204, "", ""},
	} {
		response := post(t, "filters.test", tc.path, nil)
		if response.StatusCode != tc.status || response.Header.Get("Content-Type") != tc.kind {
			t.Errorf("%s: got %d with content type %q", tc.path, response.StatusCode, response.Header.Get("Content-Type"))
		}
		if got := read(t, response); got != tc.body {
			t.Errorf("%s: got a body of %d bytes, want %d: %.100s", tc.path, len(got), len(tc.body), got)
		}
		if tc.path != "/closed" {
			continue
		}
		if got := strings.Join(response.Header.Values("X-Path"), ", "); response.Header.Get("Retry-After") != "600" || got != "/closed, 5 %" {
			t.Errorf("%s: got the headers %v", tc.path, response.Header)
		}
	}
	response := post(t, "grpc.test", "/shop.Cart/Get", nil, "Content-Type", "application/grpc")
	if response.StatusCode != http.StatusOK || response.Header.Get("Grpc-Status") != "14" || response.Header.Get("Grpc-Message") != "later" {
		t.Errorf("gRPC: got %d with the headers %v", response.StatusCode, response.Header)
	}
	c.apply(&corev1.ConfigMap{ObjectMeta: c.meta("page"), Data: map[string]string{"page.html": "Soon."}})
	c.eventually("Soon.", func() string { return read(t, post(t, "filters.test", "/closed", nil)) })
	c.delete(translator.Object(page))
	c.eventually("", func() string { return read(t, post(t, "filters.test", "/closed", nil)) })
	if got := post(t, "filters.test", "/closed", nil).StatusCode; got != http.StatusInternalServerError {
		t.Errorf("without its body, a rule answers %d", got)
	}
}
