package withenvoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// reaches waits until Envoy serves a path of a.example.com.
func (c *translated) reaches(path string) {
	c.t.Helper()
	envoytest.WaitFor(c.t, path, func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", proxyPort))
		if err != nil {
			return false
		}
		_ = conn.Close()
		return exchange(c.t, http.MethodGet, path).StatusCode == http.StatusOK
	})
}

// exchange sends a request to the Gateway's port 80, with alternating names and values of headers.
func exchange(t testing.TB, method, path string, headers ...string) *http.Response {
	t.Helper()
	request, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", proxyPort, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "a.example.com"
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	response.Body = io.NopCloser(strings.NewReader(string(body)))
	return response
}

// content is the body of a response of exchange.
func content(r *http.Response) string {
	body, _ := io.ReadAll(r.Body)
	return string(body)
}

// matched gives the rule of a route one match, with a path and, if it is not empty, a method.
func matched(rule *gwapiv1.HTTPRouteRule, path string, method gwapiv1.HTTPMethod) {
	match := gwapiv1.HTTPRouteMatch{Path: &gwapiv1.HTTPPathMatch{Type: new(gwapiv1.PathMatchPathPrefix), Value: &path}}
	if method != "" {
		match.Method = &method
	}
	rule.Matches = []gwapiv1.HTTPRouteMatch{match}
}

// TestCORS sends requests like browsers, and like the conformance suite's HTTPRouteCORS.
func TestCORS(t *testing.T) {
	c := startTranslated(t, false)
	route := c.route("a.example.com", nil)
	rule := route.Spec.Rules[0]
	rule.Filters = []gwapiv1.HTTPRouteFilter{{Type: gwapiv1.HTTPRouteFilterCORS, CORS: &gwapiv1.HTTPCORSFilter{
		AllowOrigins: []gwapiv1.CORSOrigin{"*"}, AllowMethods: []gwapiv1.HTTPMethodWithWildcard{"*"},
		AllowHeaders:  []gwapiv1.HTTPHeaderName{"*"},
		ExposeHeaders: []gwapiv1.HTTPHeaderName{"*", "x-seen"}, AllowCredentials: new(true),
	}}}
	matched(&rule, "/all", "")
	put := *rule.DeepCopy()
	put.Filters[0].CORS = &gwapiv1.HTTPCORSFilter{
		AllowOrigins: []gwapiv1.CORSOrigin{"https://*.example.org"},
		AllowMethods: []gwapiv1.HTTPMethodWithWildcard{"PUT"},
	}
	matched(&put, "/put", gwapiv1.HTTPMethodPut)
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{rule, put}
	c.apply(route)
	c.reaches("/all")

	asks := func(path, origin, method, wantHeaders string) map[string]string {
		t.Helper()
		response := exchange(t, http.MethodOptions, path, "Origin", origin, "Access-Control-Request-Method", method,
			"Access-Control-Request-Headers", wantHeaders)
		got := map[string]string{"status": fmt.Sprint(response.StatusCode), "body": content(response)}
		for name := range response.Header {
			if short, ok := strings.CutPrefix(name, "Access-Control-"); ok {
				got[short] = response.Header.Get(name)
			}
		}
		return got
	}
	for _, tc := range []struct {
		path, origin, method string
		want                 map[string]string
	}{
		{"/all", "https://evil.test:12345", "PUT", map[string]string{
			"status": "200", "body": "", "Allow-Origin": "https://evil.test:12345", "Allow-Methods": "PUT",
			"Allow-Headers":     "x-1, x-2",
			"Allow-Credentials": "true", "Expose-Headers": "x-seen", "Max-Age": "5",
		}},
		{"/put", "https://a.b.example.org", "PUT", map[string]string{
			"status": "200", "body": "", "Allow-Origin": "https://a.b.example.org", "Allow-Methods": "PUT", "Max-Age": "5",
		}},
		{"/put", "https://evil.test", "PUT", map[string]string{
			"status": "200", "body": "", "Allow-Methods": "PUT",
			"Max-Age": "5",
		}},
		{"/put", "https://a.b.example.org", "GET", map[string]string{"status": "404", "body": ""}},
	} {
		if diff := cmp.Diff(tc.want, asks(tc.path, tc.origin, tc.method, "x-1, x-2")); diff != "" {
			t.Errorf("%s from %s for %s (-want +got):\n%s", tc.path, tc.origin, tc.method, diff)
		}
	}
	response := exchange(t, http.MethodGet, "/all", "Origin", "https://evil.test")
	if got := response.Header.Get("Access-Control-Allow-Origin") + " " +
		response.Header.Get("Access-Control-Expose-Headers"); got != "https://evil.test x-seen" {
		t.Errorf("a simple request: got %q", got)
	}
	if got := exchange(t, http.MethodOptions, "/put").StatusCode; got != http.StatusNotFound {
		t.Errorf("OPTIONS that is no preflight: got %d, want 404", got)
	}
}

// recorder is a backend that records its requests.
type recorder struct {
	mu   sync.Mutex
	seen []string
}

func (r *recorder) ServeHTTP(_ http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, q.Host+q.URL.Path+" "+q.Header.Get("X-Set"))
}

func (r *recorder) count(request string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, seen := range r.seen {
		if seen == request {
			n++
		}
	}
	return n
}

// behind makes a Service with an endpoint for each handler.
func (c *translated) behind(name string, handlers ...http.Handler) []translator.Object {
	service := &corev1.Service{
		ObjectMeta: c.meta(name),
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	objects := []translator.Object{service}
	for i, h := range handlers {
		s := httptest.NewServer(h)
		c.t.Cleanup(s.Close)
		var port int32
		_, _ = fmt.Sscanf(s.URL, "http://127.0.0.1:%d", &port)
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: c.meta(fmt.Sprintf("%s-%d", name, i)), AddressType: discoveryv1.AddressTypeIPv4,
			Ports:     []discoveryv1.EndpointPort{{Name: new("http"), Port: &port}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
		}
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
		objects = append(objects, slice)
	}
	return objects
}

func TestMirrors(t *testing.T) {
	c := startTranslated(t, false)
	all, half := &recorder{}, &recorder{}
	c.apply(append(c.behind("all", all), c.behind("half", half)...)...)
	route := c.route("a.example.com", nil)
	to := func(service gwapiv1.ObjectName, fraction *gwapiv1.Fraction) gwapiv1.HTTPRouteFilter {
		mirror := &gwapiv1.HTTPRequestMirrorFilter{Fraction: fraction}
		mirror.BackendRef.Name, mirror.BackendRef.Port = service, new(int32(80))
		return gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterRequestMirror, RequestMirror: mirror}
	}
	route.Spec.Rules[0].Filters = []gwapiv1.HTTPRouteFilter{
		{
			Type:                  gwapiv1.HTTPRouteFilterRequestHeaderModifier,
			RequestHeaderModifier: &gwapiv1.HTTPHeaderFilter{Set: []gwapiv1.HTTPHeader{{Name: "X-Set", Value: "set"}}},
		},
		to("all", nil), to("half", &gwapiv1.Fraction{Numerator: 25, Denominator: new(int32(50))}),
	}
	c.apply(route)
	c.serves(proxyPort, "a.example.com")
	const requests, mirrored = 400, "a.example.com/m set"
	for range requests {
		if got := content(exchange(t, http.MethodGet, "/m")); got != "a.example.com" {
			t.Fatalf("the client got %q", got)
		}
	}
	envoytest.WaitFor(t, "the mirror of all requests", func() bool { return all.count(mirrored) == requests })
	// Six standard deviations of a binomial distribution: one in a billion runs exceeds them.
	if got := half.count(mirrored); got < requests/2-60 || got > requests/2+60 {
		t.Errorf("%d of %d requests were mirrored by half", got, requests)
	}
}

// TestBackendFiltersComeLast tests a rule and a backend that change the same headers.
func TestBackendFiltersComeLast(t *testing.T) {
	c := startTranslated(t, false)
	c.apply(c.behind("both", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Answer", "app")
		for _, name := range []string{"X-Set", "X-Add", "X-Gone", "X-Back", "X-Rule"} {
			_, _ = fmt.Fprintf(w, "%s=%s;", name, strings.Join(r.Header.Values(name), ","))
		}
	}))...)
	modifier := func(kind gwapiv1.HTTPRouteFilterType, f gwapiv1.HTTPHeaderFilter) gwapiv1.HTTPRouteFilter {
		if kind == gwapiv1.HTTPRouteFilterRequestHeaderModifier {
			return gwapiv1.HTTPRouteFilter{Type: kind, RequestHeaderModifier: &f}
		}
		return gwapiv1.HTTPRouteFilter{Type: kind, ResponseHeaderModifier: &f}
	}
	header := func(name gwapiv1.HTTPHeaderName, value string) gwapiv1.HTTPHeader {
		return gwapiv1.HTTPHeader{Name: name, Value: value}
	}
	route := c.route("a.example.com", nil)
	rule := &route.Spec.Rules[0]
	matched(rule, "/both", "")
	rule.Filters = []gwapiv1.HTTPRouteFilter{
		modifier(gwapiv1.HTTPRouteFilterRequestHeaderModifier, gwapiv1.HTTPHeaderFilter{
			Set: []gwapiv1.HTTPHeader{header("X-Set", "rule"), header("X-Gone", "rule"), header("X-Rule", "rule")},
			Add: []gwapiv1.HTTPHeader{header("X-Add", "rule")}, Remove: []string{"X-Back"},
		}),
		modifier(gwapiv1.HTTPRouteFilterResponseHeaderModifier,
			gwapiv1.HTTPHeaderFilter{Set: []gwapiv1.HTTPHeader{header("X-Answer", "rule")}}),
	}
	rule.BackendRefs[0].Name = "both"
	rule.BackendRefs[0].Filters = []gwapiv1.HTTPRouteFilter{
		modifier(gwapiv1.HTTPRouteFilterRequestHeaderModifier, gwapiv1.HTTPHeaderFilter{
			Set: []gwapiv1.HTTPHeader{header("X-Set", "backend"), header("X-Back", "backend")},
			Add: []gwapiv1.HTTPHeader{header("X-Add", "backend")}, Remove: []string{"x-gone"},
		}),
		modifier(gwapiv1.HTTPRouteFilterResponseHeaderModifier,
			gwapiv1.HTTPHeaderFilter{Set: []gwapiv1.HTTPHeader{header("X-Answer", "backend")}}),
	}
	c.apply(route)
	c.reaches("/both")
	response := exchange(t, http.MethodGet, "/both", "X-Add", "client", "X-Back", "client")
	if got, want := content(response),
		"X-Set=backend;X-Add=client,rule,backend;X-Gone=;X-Back=backend;X-Rule=rule;"; got != want {
		t.Errorf("the backend got %q, want %q", got, want)
	}
	if got := response.Header.Values("X-Answer"); len(got) != 1 || got[0] != "backend" {
		t.Errorf("the client got X-Answer %q, want backend", got)
	}
}

// cookieSession keeps sessions in a cookie with that name, headerSession in a header.
func cookieSession(name gwapiv1.CookieName) *gwapiv1.SessionPersistence {
	return &gwapiv1.SessionPersistence{Cookie: &gwapiv1.CookieConfig{Name: &name}}
}

func headerSession(name gwapiv1.HeaderName) *gwapiv1.SessionPersistence {
	return &gwapiv1.SessionPersistence{
		Type:   new(gwapiv1.HeaderBasedSessionPersistence),
		Header: &gwapiv1.HeaderConfig{Name: name},
	}
}

func TestSessionsStay(t *testing.T) {
	c := startTranslated(t, false)
	var handlers []http.Handler
	for i := range 4 {
		handlers = append(handlers, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_,
				_ = fmt.Fprint(w, i)
		}))
	}
	c.apply(append(c.behind("one", handlers[:2]...), c.behind("two", handlers[2:]...)...)...)
	route := c.route("a.example.com", nil)
	rule := &route.Spec.Rules[0]
	rule.BackendRefs = append(rule.BackendRefs, *rule.BackendRefs[0].DeepCopy())
	rule.BackendRefs[0].Name, rule.BackendRefs[1].Name = "one", "two"
	rule.SessionPersistence = cookieSession("cart")
	rule.SessionPersistence.AbsoluteTimeout = new(gwapiv1.Duration("1h"))
	matched(rule, "/cookie", "")
	second := *rule.DeepCopy()
	second.SessionPersistence = headerSession("x-cart")
	matched(&second, "/header", "")
	narrow := *rule.DeepCopy()
	narrow.SessionPersistence.Cookie.Path = new("/narrow/shop")
	matched(&narrow, "/narrow", "")
	route.Spec.Rules = append(route.Spec.Rules, second, narrow)
	c.apply(route)
	c.reaches("/header")

	// token identifies the session: the name and the value of a header of its requests.
	stay := func(path string, token func(*http.Response) (string, string)) {
		endpoints := map[string]bool{}
		for range 20 {
			first := exchange(t, http.MethodGet, path)
			name, value := token(first)
			if value == "" {
				t.Fatalf("%s: the first answer starts no session: %v", path, first.Header)
			}
			endpoint := content(first)
			endpoints[endpoint] = true
			for range 10 {
				if got := content(exchange(t, http.MethodGet, path, name, value)); got != endpoint {
					t.Fatalf("%s: the session of endpoint %s went to %s", path, endpoint, got)
				}
			}
		}
		if len(endpoints) < 2 {
			t.Errorf("%s: all sessions went to %v", path, endpoints)
		}
	}
	cookie := func(path string) func(*http.Response) (string, string) {
		return func(r *http.Response) (string, string) {
			for _, cookie := range r.Cookies() {
				if cookie.Name == "cart" && cookie.MaxAge == 3600 && cookie.Path == path {
					return "Cookie", cookie.Name + "=" + cookie.Value
				}
			}
			return "", ""
		}
	}
	stay("/cookie", cookie("/"))
	stay("/narrow/shop/cart", cookie("/narrow/shop"))
	if cookies := exchange(t, http.MethodGet, "/narrow/shops").Cookies(); len(cookies) > 0 {
		t.Errorf("outside of its path a session begins, with cookies %v", cookies)
	}
	stay("/header", func(r *http.Response) (string, string) { return "X-Cart", r.Header.Get("X-Cart") })
}

// TestEndpointsThatGoAreDrained marks the endpoint with an open request as terminating: the request succeeds, and new
// ones go elsewhere.
func TestEndpointsThatGoAreDrained(t *testing.T) {
	c := startTranslated(t, false)
	held, release := make(chan int, 1), make(chan struct{})
	var handlers []http.Handler
	for i := range 2 {
		handlers = append(handlers, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hold" {
				held <- i
				<-release
			}
			_, _ = fmt.Fprint(w, i)
		}))
	}
	objects := c.behind("pods", handlers...)
	c.apply(objects...)
	route := c.route("a.example.com", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "pods"
	c.apply(route)
	c.reaches("/")
	answer := make(chan string)
	go func() { answer <- content(exchange(t, http.MethodGet, "/hold")) }()
	going := <-held
	slice := objects[1+going].(*discoveryv1.EndpointSlice).DeepCopy()
	slice.Generation = c.meta("").Generation
	slice.Endpoints[0].Conditions = discoveryv1.EndpointConditions{
		Ready: new(false), Serving: new(true),
		Terminating: new(true),
	}
	c.apply(slice)
	stays := fmt.Sprint(1 - going)
	envoytest.WaitFor(t, "requests to go elsewhere", func() bool {
		for range 20 {
			if content(exchange(t, http.MethodGet, "/")) != stays {
				return false
			}
		}
		return true
	})
	close(release)
	if got := <-answer; got != fmt.Sprint(going) {
		t.Errorf("the request that was under way got %q", got)
	}
}
