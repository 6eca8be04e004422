package withenvoy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// asks records the requests to authorization servers.
type asks struct {
	mu   sync.Mutex
	seen []string
}

func (a *asks) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, fmt.Sprintf(format, args...))
}

// take returns the requests since the last call.
func (a *asks) take() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := strings.Join(a.seen, "; ")
	a.seen = nil
	return seen
}

// first identifies the user by Authorization and sets X-Tier. It also tries to redirect requests to another host and to
// another listener.
func (a *asks) first(w http.ResponseWriter, r *http.Request) {
	a.note("first %s %s", r.Host, r.URL.Path)
	tier := r.Header.Get("Authorization")
	if tier == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	for name, value := range map[string]string{
		"Host": "open.test", "X-Gatehouse-Listener": "shop/web/on-80",
		"X-Tier": tier, "X-Order": "first",
	} {
		w.Header().Set(name, value)
	}
}

// second adds to the headers of the first, and needs the body.
func (a *asks) second(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.note("second %s %s%s", r.Header.Get("X-Tier"), r.Header.Get("X-Order"), body)
	if r.Header.Get("X-Tier") == "banned" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	w.Header().Set("X-Order", r.Header.Get("X-Order")+" second")
}

// asking is a filter that sends requests to a Service of the Gateway's namespace by HTTP, with one header of the
// request.
func asking(service gwapiv1.ObjectName, header string, body int32) *gwapiv1.HTTPExternalAuthFilter {
	f := &gwapiv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: gwapiv1.HTTPRouteExternalAuthHTTPProtocol,
		HTTPAuthConfig:       &gwapiv1.HTTPAuthConfig{AllowedRequestHeaders: []string{header, "X-Tier"}},
	}
	f.BackendRef.Name, f.BackendRef.Port = service, new(int32(80))
	if body > 0 {
		f.ForwardBody = &gwapiv1.ForwardBodyConfig{MaxSize: body}
	}
	return f
}

// guardedGateway has two listeners on its port 80: one for *.guarded.test, whose requests pass the filters, and one for
// all other hosts.
func (c *translated) guardedGateway(scoped bool, filters ...*gwapiv1.HTTPExternalAuthFilter) *gwapiv1.Gateway {
	g := c.gateway(scoped, 80, 80)
	guarded := &g.Spec.Listeners[1]
	guarded.Name, guarded.Hostname, guarded.Filters = "guarded", new(gwapiv1.Hostname("*.guarded.test")),
		&gwapiv1.ListenerFilters{}
	for _, f := range filters {
		guarded.Filters.Requests = append(guarded.Filters.Requests,
			gwapiv1.ListenerFilter{Type: gwapiv1.ListenerFilterExternalAuth, ExternalAuth: f})
	}
	return g
}

// onGold lets a rule match only requests that an authorization server has marked as gold.
func onGold(rules ...gwapiv1.HTTPRouteRule) []gwapiv1.HTTPRouteRule {
	for i := range rules {
		rules[i].Matches[0].Headers = []gwapiv1.HTTPHeaderMatch{{Name: "X-Tier", Value: "gold"}}
	}
	return rules
}

// guardedScene has a route at a.guarded.test whose rules each use a filter of Envoy.
func guardedScene(t *testing.T, scoped bool) (c *translated, a *asks) {
	a = &asks{}
	c = startTranslated(t, scoped)
	c.apply(c.guardedGateway(scoped, asking("first", "Authorization", 0), asking("second", "X-Order", 100)))
	c.apply(c.behind("first", http.HandlerFunc(a.first))...)
	c.apply(c.behind("second", http.HandlerFunc(a.second))...)
	c.apply(c.behind("third", http.HandlerFunc(func(w http.ResponseWriter,
		_ *http.Request,
	) {
		w.WriteHeader(http.StatusTeapot)
	}))...)
	c.apply(c.behind("seen", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s%s", r.Host, r.Header.Get("X-Tier"), r.Header.Get("X-Order"), body)
	}))...)
	route := c.route("a.guarded.test", nil)
	redirected := at(gwapiv1.PathMatchPathPrefix, "/moved", gwapiv1.HTTPRouteFilter{
		Type:            gwapiv1.HTTPRouteFilterRequestRedirect,
		RequestRedirect: &gwapiv1.HTTPRequestRedirectFilter{Scheme: new("https")},
	})
	redirected.BackendRefs = nil
	denied := at(gwapiv1.PathMatchPathPrefix, "/denied")
	denied.Name = new(gwapiv1.SectionName("denied"))
	kept := at(gwapiv1.PathMatchPathPrefix, "/session")
	kept.SessionPersistence = &gwapiv1.SessionPersistence{}
	traced := at(gwapiv1.PathMatchPathPrefix, "/traced")
	matched(&traced, "/traced", gwapiv1.HTTPMethodTrace)
	third := gwapiv1.HTTPRouteFilter{
		Type:         gwapiv1.HTTPRouteFilterExternalAuth,
		ExternalAuth: asking("third", "X-Order", 0),
	}
	route.Spec.Rules = append(onGold(
		at(gwapiv1.PathMatchPathPrefix, "/where"), redirected, denied, kept, traced,
		at(gwapiv1.PathMatchPathPrefix, "/asked", third), shared("/shared", "https://one.test")),
		at(gwapiv1.PathMatchPathPrefix, "/where", gwapiv1.HTTPRouteFilter{
			Type:                   gwapiv1.HTTPRouteFilterResponseHeaderModifier,
			ResponseHeaderModifier: &gwapiv1.HTTPHeaderFilter{Set: []gwapiv1.HTTPHeader{{Name: "X-Plain", Value: "yes"}}},
		}), at(gwapiv1.PathMatchPathPrefix, "/denied"))
	for i := range route.Spec.Rules {
		for b := range route.Spec.Rules[i].BackendRefs {
			route.Spec.Rules[i].BackendRefs[b].Name = "seen"
		}
	}
	policy := &v1alpha1.SecurityPolicy{ObjectMeta: c.meta("nobody")}
	policy.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
			Group: gwapiv1.GroupName, Kind: "HTTPRoute",
			Name: "a.guarded.test",
		}, SectionName: denied.Name,
	}}
	deny := v1alpha1.AuthorizationActionDeny
	policy.Spec.Authorization = &v1alpha1.Authorization{DefaultAction: &deny}
	c.apply(route, policy, c.route("open.test", nil))
	c.serves(proxyPort, "open.test")
	return c, a
}

// TestListenerFilters sends requests to two listeners of one port, one of them with filters. The filters decide before
// a route is chosen, and then all filters and policies of that route apply.
func TestListenerFilters(t *testing.T) {
	for _, scoped := range []bool{false, true} {
		t.Run(fmt.Sprintf("scoped %t", scoped), func(t *testing.T) {
			c, a := guardedScene(t, scoped)
			c.quiet()
			a.take()
			const gold, host = "Authorization: gold", "a.guarded.test"
			const preflight, origin = "Access-Control-Request-Method: PUT", "Origin: https://one.test"
			both := func(path, tier string) string { return "first " + host + " " + path + "; second " + tier + " first" }
			for _, tc := range []struct {
				method, host, target string
				lines                []string
				code                 int
				body, header, asked  string
			}{
				{"GET", host, "/where", []string{gold}, 200, host + " gold first second", "", both("/where", "gold")},
				{
					"GET", host, "/where",
					[]string{"Authorization: tin"},
					200, host + " tin first second", "X-Plain: yes",
					both("/where", "tin"),
				},
				{"GET", host, "/where", []string{"X-Tier: gold"}, 401, "", "", "first " + host + " /where"},
				{"GET", host, "/where", []string{"Authorization: banned"}, 403, "", "", both("/where", "banned")},
				{"GET", host, "/nowhere", []string{gold}, 404, "", "", both("/nowhere", "gold")},
				{"GET", host, "/nowhere", nil, 401, "", "", "first " + host + " /nowhere"},
				{"GET", host, "/moved", []string{gold}, 302, "", "Location: https://" + host + "/moved", both("/moved", "gold")},
				{"GET", host, "/denied", []string{gold}, 403, "RBAC: access denied", "", both("/denied", "gold")},
				{
					"GET", host, "/denied",
					[]string{"Authorization: tin"},
					200, host + " tin first second", "",
					both("/denied", "tin"),
				},
				{"GET", host, "/asked", []string{gold}, 418, "", "", both("/asked", "gold")},
				{
					"GET", host, "/session",
					[]string{gold},
					200, host + " gold first second", "Set-Cookie: ",
					both("/session", "gold"),
				},
				{"TRACE", host, "/traced", []string{gold}, 200, host + " gold first second", "", both("/traced", "gold")},
				{"TRACE", host, "/where", []string{gold}, 501, "", "", both("/where", "gold")},
				{
					"GET", host, "/shared",
					[]string{gold, origin},
					200, host + " gold first second",
					"Access-Control-Allow-Origin: https://one.test", both("/shared", "gold"),
				},
				{
					"OPTIONS", host, "/shared",
					[]string{gold, origin, preflight},
					200, "",
					"Access-Control-Allow-Origin: https://one.test", both("/shared", "gold"),
				},
				{
					"POST", host, "/where",
					[]string{gold, "Content-Length: 3"},
					200, host + " gold first second+ab", "",
					both("/where", "gold") + "+ab",
				},
				{"GET", "open.test", "/", []string{gold}, 200, "open.test", "", ""},
				{"GET", "open.test", "/", []string{"X-Gatehouse-Listener: shop/web/guarded"}, 200, "", "", ""},
			} {
				lines := tc.lines
				if tc.method == "POST" {
					lines = append(lines, "\r\n+ab")
				}
				response := verbatim(t, tc.method, tc.host, tc.target, lines...)
				body, _ := io.ReadAll(response.Body)
				name, value, _ := strings.Cut(tc.header, ": ")
				header := response.Header.Get(name)
				if asked := a.take(); response.StatusCode != tc.code || tc.body != "" && string(body) != tc.body ||
					!strings.HasPrefix(header, value) || name != "" && header == "" || asked != tc.asked {
					t.Errorf("%s %s%s %q: got %d %q, %s %q, after %q; want %d %q, %q, after %q",
						tc.method, tc.host, tc.target, tc.lines, response.StatusCode, body, name, header, asked, tc.code, tc.body,
						tc.header, tc.asked)
				}
			}
			c.reports(func(p translator.Proxy, _ bool) string {
				if len(p.Rejected)+len(p.Guilty) > 0 {
					return fmt.Sprintf("Envoy rejected %v %v", p.Rejected, p.Guilty)
				}
				return ""
			})
		})
	}
}

// TestListenerFiltersOfTLS tests a listener with TLS, with HTTP/2 and sixteen filters for each request, which is the
// maximum of a listener.
func TestListenerFiltersOfTLS(t *testing.T) {
	c, a := guardedScene(t, false)
	g := c.httpsGateway(gwapiv1.Listener{Name: "tls", Port: 443, Filters: &gwapiv1.ListenerFilters{}})
	filters := &g.Spec.Listeners[0].Filters.Requests
	for range 15 {
		*filters = append(*filters, gwapiv1.ListenerFilter{
			Type:         gwapiv1.ListenerFilterExternalAuth,
			ExternalAuth: asking("second", "X-Order", 0),
		})
	}
	*filters = append(*filters, gwapiv1.ListenerFilter{
		Type:         gwapiv1.ListenerFilterExternalAuth,
		ExternalAuth: asking("first", "Authorization", 0),
	})
	g.Spec.Listeners = append(g.Spec.Listeners, c.gateway(false, 80).Spec.Listeners...)
	c.apply(g, c.secret("server", newAuthority(t).issue("open.test")))
	envoytest.WaitFor(t, "the listener with TLS", func() bool {
		return strings.HasPrefix(askTLS(t, 10443, "open.test",
			"open.test"), "401")
	})
	var want []string
	for i := range 15 {
		want = append(want, "second  "+strings.TrimSpace(strings.Repeat("second ", i)))
	}
	a.take()
	_ = askTLS(t, 10443, "open.test", "open.test")
	if diff := cmp.Diff(append(want, "first open.test /"), strings.Split(a.take(), "; ")); diff != "" {
		t.Errorf("what the servers were asked (-want +got):\n%s", diff)
	}
}

// TestListenerFiltersLeaveRestAlone: requests that are allowed are upgraded, repeated and translated as on any other
// listener.
func TestListenerFiltersLeaveRestAlone(t *testing.T) {
	c, _ := guardedScene(t, false)
	var broken atomic.Int32
	breaks := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		broken.Add(1)
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
	})
	c.apply(c.behind("breaks", breaks, breaks)...)
	c.apply(c.behind("switches", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		_, _ = io.WriteString(conn,
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
		_ = conn.Close()
	}))...)
	route := c.route("rest.guarded.test", nil)
	route.Spec.Rules = onGold(at(gwapiv1.PathMatchPathPrefix, "/repeated"), at(gwapiv1.PathMatchPathPrefix, "/switched"))
	route.Spec.Rules[0].BackendRefs[0].Name, route.Spec.Rules[1].BackendRefs[0].Name = "breaks", "switches"
	once := c.route("once.guarded.test", nil)
	once.Spec.Rules[0].BackendRefs[0].Name = "breaks"
	policy := c.retrying("HTTPRoute", "once.guarded.test", 2)
	policy.Spec.Retry.RetryOn = &v1alpha1.RetryOn{Triggers: []v1alpha1.TriggerEnum{v1alpha1.ConnectFailure}}
	server, listener := grpc.NewServer(), listen(t)
	healthv1.RegisterHealthServer(server, health.NewServer())
	t.Cleanup(server.Stop)
	go func() { _ = server.Serve(listener) }()
	calls := &gwapiv1.GRPCRoute{ObjectMeta: c.meta("health"), Spec: gwapiv1.GRPCRouteSpec{
		CommonRouteSpec: gwapiv1.CommonRouteSpec{ParentRefs: []gwapiv1.ParentReference{{Name: "web"}}},
		Hostnames:       []gwapiv1.Hostname{"g.guarded.test"},
		Rules: []gwapiv1.GRPCRouteRule{{BackendRefs: []gwapiv1.GRPCBackendRef{{BackendRef: toService("health",
			1)}}}},
	}}
	c.apply(append(c.service("health", corev1.ProtocolTCP, listener.Addr().(*net.TCPAddr).Port), calls, route, once,
		policy)...)
	c.quiet()

	const gold = "Authorization: gold"
	for host, repeated := range map[string]bool{"rest.guarded.test": true, "once.guarded.test": false} {
		broken.Store(0)
		if got := verbatim(t, http.MethodGet, host, "/repeated", gold).StatusCode; got != http.StatusServiceUnavailable ||
			(broken.Load() > 1) != repeated {
			t.Errorf("%s: got %d after %d tries, want 503, repeated: %t", host, got, broken.Load(), repeated)
		}
	}
	for host, want := range map[string]string{
		"g.guarded.test": "application/grpc-web+proto",
		"a.guarded.test": "application/octet-stream",
	} {
		message := "\x00\x00\x00\x00\x00"
		response := verbatim(t, http.MethodPost, host, map[bool]string{
			true:  "/grpc.health.v1.Health/Check",
			false: "/where",
		}[host == "g.guarded.test"],
			gold, "Content-Type: application/grpc-web+proto", fmt.Sprintf("Content-Length: %d", len(message)), "\r\n"+message)
		if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != want {
			t.Errorf("gRPC-Web to %s: got %d of type %q, want type %q", host, response.StatusCode, got, want)
		}
	}
	conn := connect(t, 10*time.Second)
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn,
		"GET /switched HTTP/1.1\r\nHost: rest.guarded.test\r\n"+gold+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if got, _ := io.ReadAll(conn); !bytes.HasPrefix(got, []byte("HTTP/1.1 101")) ||
		!bytes.HasSuffix(got, []byte("hello")) {
		t.Errorf("a WebSocket got %q", got)
	}
}

// TestRetriesBehindListenerFilters: an allowed request that the backend received without answering is tried again as
// its rule says, and not by default.
func TestRetriesBehindListenerFilters(t *testing.T) {
	for _, disabled := range []bool{false, true} {
		t.Run(fmt.Sprintf("retries disabled %t", disabled), func(t *testing.T) {
			c := startWith(t, translator.Settings{RetriesDisabled: disabled}, false)
			a, backend := &asks{}, &scripted{script: []any{"abort"}}
			c.apply(c.guardedGateway(false, asking("first", "Authorization", 0)))
			c.apply(c.behind("first", http.HandlerFunc(a.first))...)
			c.apply(append(c.behind("scripted", backend, backend), c.route("open.test", nil))...)
			c.serves(proxyPort, "open.test")
			for i, tc := range []struct {
				method   string
				retry    *gwapiv1.HTTPRouteRetry
				repeated bool
			}{
				{http.MethodGet, nil, !disabled},
				{http.MethodGet, &gwapiv1.HTTPRouteRetry{Attempts: new(2)}, true},
				{http.MethodGet, &gwapiv1.HTTPRouteRetry{Attempts: new(0)}, false},
				{http.MethodPost, &gwapiv1.HTTPRouteRetry{Attempts: new(2)}, false},
			} {
				host := fmt.Sprintf("case-%d.guarded.test", i)
				route := c.route(host, nil)
				route.Spec.Rules[0].BackendRefs[0].Name, route.Spec.Rules[0].Retry = "scripted", tc.retry
				c.apply(route)
				const gold = "Authorization: gold"
				envoytest.WaitFor(t, host, func() bool {
					return verbatim(t, http.MethodGet, host, "/ready",
						gold).StatusCode == http.StatusOK
				})
				backend.attempts.Store(0)
				want := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[tc.repeated]
				if got := verbatim(t, tc.method, host, "/scripted", gold).StatusCode; got != want ||
					(backend.attempts.Load() == 2) != tc.repeated {
					t.Errorf("case %d: %s answered %d after %d attempts, want %d, repeated: %t", i, tc.method, got,
						backend.attempts.Load(), want, tc.repeated)
				}
			}
		})
	}
}

// TestListenerFiltersFailClosed: while a filter cannot be applied, all hosts of its listener answer 500, with and
// without routes, and no others.
func TestListenerFiltersFailClosed(t *testing.T) {
	c, _ := guardedScene(t, false)
	statuses := func(want int) {
		t.Helper()
		for _, host := range []string{"a.guarded.test", "b.guarded.test"} {
			envoytest.WaitFor(t, fmt.Sprintf("%s to answer %d", host, want), func() bool {
				return verbatim(t, http.MethodGet, host, "/where").StatusCode == want
			})
		}
		if got := ask(t, proxyPort, "open.test"); got != "200 open.test" {
			t.Errorf("the other listener answers %q", got)
		}
	}
	statuses(http.StatusUnauthorized)
	// A request that was allowed once does not open the connection for others.
	client := &http.Client{Timeout: 5 * time.Second}
	for _, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/where", proxyPort), nil)
		if err != nil {
			t.Fatal(err)
		}
		if request.Host = "a.guarded.test"; want == http.StatusOK {
			request.Header.Set("Authorization", "gold")
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, _ = io.Copy(io.Discard, response.Body); response.StatusCode != want {
			t.Errorf("got %d, want %d", response.StatusCode, want)
		}
		_ = response.Body.Close()
	}
	c.apply(c.guardedGateway(false, asking("first", "Authorization", 0), asking("absent", "X-Order", 0)))
	statuses(http.StatusInternalServerError)
	c.apply(c.guardedGateway(false, asking("second", "X-Order", 0)))
	envoytest.WaitFor(t, "requests to pass one filter", func() bool {
		return verbatim(t, http.MethodGet, "a.guarded.test", "/where").StatusCode == http.StatusOK
	})
}
