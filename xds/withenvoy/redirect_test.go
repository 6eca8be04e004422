package withenvoy

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/envoytest"
)

// redirecting are redirects with each combination of the settings that decide the port of the Location. The path of
// each says which request to send.
func redirecting() (rules []gwapiv1.HTTPRouteRule) {
	for _, scheme := range []string{"", "http", "https"} {
		for _, port := range []gwapiv1.PortNumber{0, 80, 443, 8443} {
			for _, host := range []gwapiv1.PreciseHostname{"", "new.test"} {
				f := &gwapiv1.HTTPRequestRedirectFilter{}
				if scheme != "" {
					f.Scheme = &scheme
				}
				if port != 0 {
					f.Port = &port
				}
				if host != "" {
					f.Hostname = &host
				}
				path := fmt.Sprintf("/%s-%d-%s", scheme, port, host)
				rules = append(rules, at(gwapiv1.PathMatchPathPrefix, path,
					gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterRequestRedirect, RequestRedirect: f}))
				rules[len(rules)-1].BackendRefs = nil
			}
		}
	}
	return rules
}

// wantLocation is the expected Location of a redirect of redirecting (Gateway API, HTTPRequestRedirectFilter port).
func wantLocation(f *gwapiv1.HTTPRequestRedirectFilter, scheme, host, target string,
	listener gwapiv1.PortNumber,
) string {
	implied := map[string]gwapiv1.PortNumber{"http": 80, "https": 443}
	port := listener
	if f.Scheme != nil {
		scheme, port = *f.Scheme, implied[*f.Scheme]
	}
	if f.Port != nil {
		port = *f.Port
	}
	if f.Hostname != nil {
		host = string(*f.Hostname)
	}
	if port != implied[scheme] {
		host = fmt.Sprintf("%s:%d", host, port)
	}
	return scheme + "://" + host + target
}

// TestRedirectsNeverNameTheClientsPort tries all combinations of scheme, port and hostname of the redirect, hostname of
// the route, listener, and port in the request's Host.
func TestRedirectsNeverNameTheClientsPort(t *testing.T) {
	c := startTranslated(t, false)
	rules := redirecting()
	for i, host := range []gwapiv1.Hostname{"exact.test", "*.wild.test", ""} {
		route := c.route(fmt.Sprintf("route-%d", i), nil)
		if route.Spec.Hostnames = nil; host != "" {
			route.Spec.Hostnames = []gwapiv1.Hostname{host}
		}
		route.Spec.Rules = rules
		c.apply(route)
	}
	g := c.httpsGateway(gwapiv1.Listener{Name: "tls", Port: 443})
	plain := c.gateway(false, 80, 8081).Spec.Listeners
	g.Spec.Listeners = append(g.Spec.Listeners, plain...)
	c.apply(g, c.secret("server", newAuthority(t).issue("exact.test")))
	envoytest.WaitFor(t, "the listener with TLS", func() bool {
		return askTLS(t, 10443, "exact.test",
			"exact.test") == "404"
	})
	c.quiet()
	for _, listener := range []struct {
		scheme      string
		port, bound int32
	}{{"http", 80, proxyPort}, {"http", 8081, 8081}, {"https", 443, 10443}} {
		for _, host := range []string{"exact.test", "a.wild.test", "other.test", "[::1]"} {
			for _, named := range []string{"", ":80", ":443", ":30080", ":"} {
				for _, rule := range rules {
					f, target := rule.Filters[0].RequestRedirect, *rule.Matches[0].Path.Value+"/x?a=%3A1:2"
					want := wantLocation(f, listener.scheme, host, target, listener.port)
					if got := location(t, listener.scheme, listener.bound, host+named, target); got != want {
						t.Errorf("port %d, Host %s, %s: got %s, want %s", listener.port, host+named, target, got, want)
					}
				}
			}
		}
	}
}

// location returns where a listener redirects a request to.
func location(t *testing.T, scheme string, port int32, host, target string) string {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	if scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: "exact.test", InsecureSkipVerify: true})
	}
	response := over(t, conn, http.MethodGet, host, target)
	return cmp.Or(response.Header.Get("Location"), response.Status)
}

// TestRedirectsChangePaths tests redirects that take their host from the request and change the path.
func TestRedirectsChangePaths(t *testing.T) {
	c := startTranslated(t, false)
	route := c.route("*.wild.test", nil)
	to := func(match string, change gwapiv1.HTTPPathModifier) gwapiv1.HTTPRouteRule {
		rule := at(gwapiv1.PathMatchPathPrefix, match, gwapiv1.HTTPRouteFilter{
			Type: gwapiv1.HTTPRouteFilterRequestRedirect,
			RequestRedirect: &gwapiv1.HTTPRequestRedirectFilter{
				Scheme: new("https"), Path: &change, StatusCode: new(308),
			},
		}, gwapiv1.HTTPRouteFilter{
			Type: gwapiv1.HTTPRouteFilterResponseHeaderModifier,
			ResponseHeaderModifier: &gwapiv1.HTTPHeaderFilter{
				Set: []gwapiv1.HTTPHeader{{Name: "X-Seen", Value: "100%"}},
			},
		})
		rule.BackendRefs = nil
		return rule
	}
	full := func(path string) gwapiv1.HTTPPathModifier {
		return gwapiv1.HTTPPathModifier{Type: gwapiv1.FullPathHTTPPathModifier, ReplaceFullPath: &path}
	}
	prefix := func(path string) gwapiv1.HTTPPathModifier {
		return gwapiv1.HTTPPathModifier{Type: gwapiv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: &path}
	}
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{
		to("/full", full("/one%20x")), to("/empty", full("")), to("/prefix", prefix("/new/")), to("/gone", prefix("/")),
		to("/caf%C3%A9", prefix("/new")), to("/", prefix("/all")),
	}
	c.apply(route, c.route("last.test", nil))
	c.serves(proxyPort, "last.test")
	long := strings.Repeat("/long", 1500)
	for target, want := range map[string]string{
		"/full/x?a=/b?c": "/one%20x?a=/b?c", "/full": "/one%20x", "/empty": "/", "/prefix": "/new",
		"/prefix/x?a=/prefix": "/new/x?a=/prefix", "/gone/x": "/x", "/gone?a": "/?a",
		"/caf%c3%a9/x": "/new/x", "/x": "/all/x", "/": "/all/", "/prefix" + long: "/new" + long,
	} {
		response := verbatim(t, http.MethodGet, "a.wild.test:30080", target)
		if got := response.Header.Get("Location"); got != "https://a.wild.test"+want ||
			response.Header.Get("X-Seen") != "100%" {
			t.Errorf("%.40s: got %d to %.40s, want %.40s", target, response.StatusCode, got, want)
		}
	}
	for _, tc := range []struct {
		bytes int
		want  string
	}{{8 << 10, ""}, {8<<10 - 1, "/new/" + strings.Repeat("x", 8<<10-1-len("/new/"))}} {
		target := "/prefix/" + strings.Repeat("x", tc.bytes-len("/new/"))
		if got := verbatim(t, http.MethodGet, "a.wild.test",
			target).Header.Get("Location"); got != "https://a.wild.test"+tc.want {
			t.Errorf("a path that becomes one of %d bytes: got a Location of %d bytes, %.40s", tc.bytes, len(got), got)
		}
	}
}
