package withenvoy

import (
	"io"
	"net/http"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// TestHeadersOfAuthorizationServers has clients send headers that only authorization servers may set. What a policy, a
// rule and a listener copy from the answers of their servers, the backend gets from the servers only, whether they set
// it or not. A header that the server gets is left to the server. The policy's server is asked at the path that it
// names.
func TestHeadersOfAuthorizationServers(t *testing.T) {
	c := startTranslated(t, false)
	c.apply(c.behind("auth", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tenant := r.Header.Get("X-Tenant"); tenant == "replaced" {
			w.Header().Set("X-Tenant", "own")
		}
		if r.Header.Get("Authorization") == "alice" {
			w.Header().Set("X-User", "alice of "+r.URL.Path)
		}
	}))...)
	c.apply(c.behind("seen", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-User")+"/"+r.Header.Get("X-Tenant"))
	}))...)
	filter := func() *gwapiv1.HTTPExternalAuthFilter {
		f := &gwapiv1.HTTPExternalAuthFilter{
			ExternalAuthProtocol: gwapiv1.HTTPRouteExternalAuthHTTPProtocol,
			HTTPAuthConfig: &gwapiv1.HTTPAuthConfig{
				Path: "/check", AllowedRequestHeaders: []string{"X-Tenant"}, AllowedResponseHeaders: []string{"X-User", "X-Tenant"},
			},
		}
		f.BackendRef.Name, f.BackendRef.Port = "auth", new(int32(80))
		return f
	}
	g := c.gateway(false, 80, 80)
	g.Spec.Listeners[1].Name, g.Spec.Listeners[1].Hostname = "asks", new(gwapiv1.Hostname("listener.test"))
	g.Spec.Listeners[1].Filters = &gwapiv1.ListenerFilters{Requests: []gwapiv1.ListenerFilter{
		{Type: gwapiv1.ListenerFilterExternalAuth, ExternalAuth: filter()},
	}}
	c.apply(g)
	for _, host := range []string{"policy.test", "rule.test", "listener.test"} {
		route := c.route(host, nil)
		route.Spec.Rules[0].BackendRefs[0].Name = "seen"
		if host == "rule.test" {
			route.Spec.Rules[0].Filters = []gwapiv1.HTTPRouteFilter{{
				Type:         gwapiv1.HTTPRouteFilterExternalAuth,
				ExternalAuth: filter(),
			}}
		}
		c.apply(route)
	}
	policy := c.admitting("asks", "HTTPRoute", "policy.test", nil)
	policy.Spec.CORS = nil
	policy.Spec.ExtAuth = &v1alpha1.ExtAuth{
		HTTP: &v1alpha1.HTTPExtAuthService{
			PathOverride: new("/decide"), HeadersToBackend: []string{"X-User", "x-tenant"},
			BackendCluster: v1alpha1.BackendCluster{BackendRefs: []v1alpha1.BackendRef{{BackendObjectReference: filter().BackendRef}}},
		},
		HeadersToExtAuth: []string{"X-TENANT"},
	}
	c.apply(policy, c.route("last.test", nil))
	c.serves(proxyPort, "last.test")
	for host, path := range map[string]string{
		"policy.test": "/decide", "rule.test": "/check/orders",
		"listener.test": "/check/orders",
	} {
		for _, step := range []struct{ client, tenant, want string }{
			{"alice", "replaced", "alice of " + path + "/own"},
			{"bob", "kept", "/kept"},
		} {
			got := ""
			envoytest.WaitFor(t, host+" for "+step.client, func() bool {
				response := verbatim(t, http.MethodGet, host, "/orders",
					"Authorization: "+step.client, "X-User: mallory", "x-user: mallory", "X-Tenant: "+step.tenant)
				body, _ := io.ReadAll(response.Body)
				got = string(body)
				return response.StatusCode == http.StatusOK
			})
			if got != step.want {
				t.Errorf("%s: the backend of %s saw %q, want %q", host, step.client, got, step.want)
			}
		}
	}
}
