package withenvoy

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// admitting is a SecurityPolicy that lets clients of a range in, and nobody else; without a range it is about web
// origins alone.
func (c *translated) admitting(name string, kind gwapiv1.Kind, target string, section *gwapiv1.SectionName,
	clients ...v1alpha1.CIDR,
) *v1alpha1.SecurityPolicy {
	p := &v1alpha1.SecurityPolicy{ObjectMeta: c.meta(name)}
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
			Group: gwapiv1.GroupName, Kind: kind,
			Name: gwapiv1.ObjectName(target),
		}, SectionName: section,
	}}
	if len(clients) == 0 {
		p.Spec.CORS = &v1alpha1.CORS{AllowOrigins: []v1alpha1.Origin{"https://one.test"}}
		return p
	}
	p.Spec.Authorization = &v1alpha1.Authorization{Rules: []v1alpha1.AuthorizationRule{
		{Action: v1alpha1.AuthorizationActionAllow, Principal: &v1alpha1.Principal{ClientCIDRs: clients}},
	}}
	return p
}

// policedRoute has a rule for each thing that a rule can do.
func (c *translated) policedRoute(host string, listener *gwapiv1.SectionName) *gwapiv1.HTTPRoute {
	r := c.route(host, listener)
	weighted, moved := at(gwapiv1.PathMatchPathPrefix, "/weighted"),
		at(gwapiv1.PathMatchPathPrefix, "/moved", gwapiv1.HTTPRouteFilter{
			Type:            gwapiv1.HTTPRouteFilterRequestRedirect,
			RequestRedirect: &gwapiv1.HTTPRequestRedirectFilter{Scheme: new("https")},
		})
	weighted.BackendRefs = append(weighted.BackendRefs, weighted.BackendRefs[0])
	weighted.BackendRefs[1].Name = "other"
	moved.BackendRefs = nil
	broken := at(gwapiv1.PathMatchPathPrefix, "/broken", gwapiv1.HTTPRouteFilter{
		Type: gwapiv1.HTTPRouteFilterExtensionRef, ExtensionRef: &gwapiv1.LocalObjectReference{
			Group: "example.com",
			Kind:  "Nothing", Name: "nothing",
		},
	})
	gone, loose := at(gwapiv1.PathMatchPathPrefix, "/gone"), at(gwapiv1.PathMatchRegularExpression, "/loose/(")
	gone.BackendRefs[0].Name = "gone"
	r.Spec.Rules = []gwapiv1.HTTPRouteRule{at(gwapiv1.PathMatchPathPrefix, "/plain"), weighted, moved, broken, gone, loose}
	return r
}

// TestPolicyOfManyRoutes asks two Envoys the same: to one the policy on the Gateway is sent once for all routes, to the
// other, with scoped routes, in each route. It denies everybody. A narrower policy replaces it as a whole, and what is
// not served by any route, or answers 500, does so for all.
func TestPolicyOfManyRoutes(t *testing.T) {
	for _, scoped := range []bool{false, true} {
		t.Run(fmt.Sprintf("scoped %t", scoped), func(t *testing.T) {
			c := startTranslated(t, scoped)
			g := c.gateway(scoped, 80, 80, 80)
			allows, asks := gwapiv1.SectionName("allows"), gwapiv1.SectionName("asks")
			g.Spec.Listeners[1].Name, g.Spec.Listeners[1].Hostname = allows, new(gwapiv1.Hostname("*.allows.test"))
			g.Spec.Listeners[2].Name, g.Spec.Listeners[2].Hostname = asks, new(gwapiv1.Hostname("*.asks.test"))
			g.Spec.Listeners[2].Filters = &gwapiv1.ListenerFilters{Requests: []gwapiv1.ListenerFilter{{
				Type: gwapiv1.ListenerFilterExternalAuth, ExternalAuth: asking("yes", "X-Order", 0),
			}}}
			c.apply(g)
			c.apply(c.behind("other", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))...)
			c.apply(c.behind("yes", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))...)
			hosts := []string{
				"denied.test", "replaced.test", "web.test", "a.allows.test", "denied.asks.test",
				"replaced.asks.test", "web.asks.test",
			}
			for _, host := range hosts {
				c.apply(c.policedRoute(host, nil))
			}
			const here, elsewhere = v1alpha1.CIDR("127.0.0.0/8"), v1alpha1.CIDR("10.0.0.0/8")
			c.apply(
				c.admitting("all", "Gateway", "web", nil, elsewhere), c.admitting("section", "Gateway", "web", &allows, here),
				c.admitting("replaced", "HTTPRoute", "replaced.test", nil, here), c.admitting("web", "HTTPRoute", "web.test", nil),
				c.admitting("replaced-asks", "HTTPRoute", "replaced.asks.test", nil, here),
				c.admitting("web-asks", "HTTPRoute", "web.asks.test", nil),
			)
			allowed := map[string]bool{
				"replaced.test": true, "web.test": true, "a.allows.test": true,
				"replaced.asks.test": true, "web.asks.test": true,
			}
			check := func() {
				t.Helper()
				for _, host := range hosts {
					want := map[string]int{
						"/plain": 200, "/weighted": 200, "/moved": 302, "/broken": 500, "/gone": 500,
						"/loose/x": 500, "/nowhere": 404,
					}
					if !allowed[host] {
						want["/plain"], want["/weighted"], want["/moved"], want["/gone"] = 403, 403, 403, 403
					}
					for path, code := range want {
						if got := verbatim(t, http.MethodGet, host, path).StatusCode; got != code {
							t.Errorf("%s%s answers %d, want %d", host, path, got, code)
						}
					}
				}
				if got := verbatim(t, http.MethodGet, "unknown.test", "/plain").StatusCode; got != 404 {
					t.Errorf("a host without a route answers %d", got)
				}
			}
			c.apply(c.route("last.test", nil), c.admitting("last", "HTTPRoute", "last.test", nil))
			c.serves(proxyPort, "last.test")
			check()

			c.apply(c.admitting("all", "Gateway", "web", nil, elsewhere, here))
			allowed["denied.test"], allowed["denied.asks.test"] = true, true
			envoytest.WaitFor(t, "the changed policy", func() bool {
				return verbatim(t, http.MethodGet, "denied.test",
					"/plain").StatusCode == 200
			})
			c.quiet()
			check()
		})
	}
}

// TestUsersOfManyRoutes: the users of a policy on the Gateway are sent once for all routes too. What is not to ask for
// users does not, whichever way requests come to it.
func TestUsersOfManyRoutes(t *testing.T) {
	c := startTranslated(t, false)
	g := c.gateway(false, 80, 80)
	asks := gwapiv1.SectionName("asks")
	g.Spec.Listeners[1].Name, g.Spec.Listeners[1].Hostname = asks, new(gwapiv1.Hostname("*.asks.test"))
	g.Spec.Listeners[1].Filters = &gwapiv1.ListenerFilters{Requests: []gwapiv1.ListenerFilter{{
		Type: gwapiv1.ListenerFilterExternalAuth, ExternalAuth: asking("yes", "X-Order", 0),
	}}}
	users := c.admitting("all", "Gateway", "web", nil)
	users.Spec.CORS, users.Spec.BasicAuth = nil, &v1alpha1.BasicAuth{Users: gwapiv1.SecretObjectReference{Name: "users"}}
	htpasswd := "ann:{SHA}" +
		base64.StdEncoding.EncodeToString(func() []byte { sum := sha1.Sum([]byte("secret")); return sum[:] }())
	c.apply(c.behind("other", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))...)
	c.apply(c.behind("yes", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))...)
	c.apply(g, users, &corev1.Secret{ObjectMeta: c.meta("users"), Data: map[string][]byte{".htpasswd": []byte(htpasswd)}})
	for _, host := range []string{"users.test", "web.test", "users.asks.test", "web.asks.test"} {
		c.apply(c.policedRoute(host, nil))
	}
	c.apply(c.admitting("web", "HTTPRoute", "web.test", nil), c.admitting("web-asks", "HTTPRoute", "web.asks.test", nil))
	c.apply(c.route("last.test", nil), c.admitting("last", "HTTPRoute", "last.test", nil))
	c.serves(proxyPort, "last.test")
	login := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ann:secret"))
	for _, tc := range []struct {
		host, path string
		lines      []string
		code       int
	}{
		{"users.test", "/plain", nil, 401},
		{"users.test", "/plain", []string{login}, 200},
		{"users.test", "/broken", nil, 500},
		{"users.test", "/nowhere", nil, 404},
		{"users.asks.test", "/plain", nil, 401},
		{"users.asks.test", "/plain", []string{login}, 200},
		{"users.asks.test", "/broken", nil, 500},
		{"users.asks.test", "/nowhere", nil, 404},
		{"web.test", "/plain", nil, 200},
		{"web.asks.test", "/plain", nil, 200},
	} {
		if got := verbatim(t, http.MethodGet, tc.host, tc.path, tc.lines...).StatusCode; got != tc.code {
			t.Errorf("%s%s with %q answers %d, want %d", tc.host, tc.path, tc.lines, got, tc.code)
		}
	}
}

// connect opens a connection to the Gateway's first port, over which nothing may take longer.
func connect(t *testing.T, within time.Duration) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", proxyPort))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	return conn
}
