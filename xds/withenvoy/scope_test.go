package withenvoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/policies/retrybudget"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

// translated is an Envoy with the translation of a Gateway with listeners on ports 80 and 8081, and a Service "echo"
// whose only endpoint answers with the headers of the request.
type translated struct {
	*controlled
	world      *translator.World
	generation int64
}

func startTranslated(t testing.TB, scoped bool, objects ...translator.Object) *translated {
	t.Helper()
	return startWith(t, translator.Settings{}, scoped, objects...)
}

// startWith is startTranslated with settings.
func startWith(t testing.TB, settings translator.Settings, scoped bool, objects ...translator.Object) *translated {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	settings.ControllerName, settings.EnabledKinds = "example.com/gatehouse",
		[]string{retrybudget.Kind, v1alpha1.KindBackend}
	c := &translated{world: translator.NewWorld(translator.NewTables(settings, engine))}
	class := &gwapiv1.GatewayClass{
		ObjectMeta: c.meta("web"),
		Spec:       gwapiv1.GatewayClassSpec{ControllerName: gwapiv1.GatewayController(settings.ControllerName)},
	}
	class.Namespace = ""
	service := &corev1.Service{
		ObjectMeta: c.meta("echo"),
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: c.meta("echo"), AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(headers(t)))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "echo"}
	resources := c.translate(t, append([]translator.Object{class, service, slice, c.gateway(scoped, 80, 8081)},
		objects...)...)
	c.controlled = start(t, resources[0].Changed...)
	return c
}

func (c *translated) meta(name string) metav1.ObjectMeta {
	c.generation++
	return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "u", Generation: c.generation}
}

// gateway has a listener for each port, named after it.
func (c *translated) gateway(scoped bool, ports ...int32) *gwapiv1.Gateway {
	g := &gwapiv1.Gateway{ObjectMeta: c.meta("web"), Spec: gwapiv1.GatewaySpec{GatewayClassName: "web"}}
	if scoped {
		g.Annotations = map[string]string{translator.ScopedRoutesAnnotation: "true"}
	}
	for _, port := range ports {
		g.Spec.Listeners = append(g.Spec.Listeners, gwapiv1.Listener{
			Name: gwapiv1.SectionName(fmt.Sprintf("on-%d", port)), Protocol: gwapiv1.HTTPProtocolType, Port: port,
		})
	}
	return g
}

// route sends a host, on one listener or on all of them, to the Service.
func (c *translated) route(host string, listener *gwapiv1.SectionName) *gwapiv1.HTTPRoute {
	r := &gwapiv1.HTTPRoute{ObjectMeta: c.meta(host)}
	r.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "web", SectionName: listener}}
	r.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(host)}
	backend := gwapiv1.HTTPBackendRef{}
	backend.Name, backend.Port = "echo", new(int32(80))
	r.Spec.Rules = []gwapiv1.HTTPRouteRule{{BackendRefs: []gwapiv1.HTTPBackendRef{backend}}}
	return r
}

func (c *translated) translate(t testing.TB, objects ...translator.Object) []translator.Delta {
	t.Helper()
	events := make([]translator.Event, len(objects))
	for i, o := range objects {
		events[i].Object = o
	}
	outcome, err := c.world.Apply(events)
	if err != nil {
		t.Fatal(err)
	}
	return outcome.Deltas
}

// apply sends the changes of the objects to Envoy.
func (c *translated) apply(objects ...translator.Object) {
	c.t.Helper()
	for _, d := range c.translate(c.t, objects...) {
		c.change(d.Changed, d.Removed)
	}
}

func (c *translated) delete(o translator.Object) {
	c.t.Helper()
	outcome, err := c.world.Apply([]translator.Event{{Object: o, Deleted: true}})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, d := range outcome.Deltas {
		c.change(d.Changed, d.Removed)
	}
}

// headers starts a backend that answers with the host and the names of headers that it should not get. It returns its
// port.
func headers(t testing.TB) int {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host)
		if told := r.Header.Get("X-Gatehouse-Listener"); told != "" {
			_, _ = io.WriteString(w, " told "+told)
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// ask sends a request for a host, optionally with a value for the header with which Envoy distinguishes listeners, and
// returns the status and the body.
func ask(t testing.TB, port int, host string, listener ...string) string {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	request.Header["X-Gatehouse-Listener"] = listener
	response, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(response.StatusCode, " ", string(body))
}

func (c *translated) serves(port int, host string) {
	c.t.Helper()
	envoytest.WaitFor(c.t, host, func() bool { return ask(c.t, port, host) == "200 "+host })
}

// TestScopedAnswersAsUnscoped sends the same requests to both kinds of Gateway. A scope key is compared
// case-sensitively, so upper-case hosts are the only difference; docs/scoped-routes.md describes it.
func TestScopedAnswersAsUnscoped(t *testing.T) {
	first := gwapiv1.SectionName("on-80")
	answers := func(t *testing.T, scoped bool) map[string]string {
		var made translated
		c := startTranslated(t, scoped, made.route("a.example.com", nil), made.route("b.example.com", &first))
		c.serves(proxyPort, "b.example.com")
		c.serves(8081, "a.example.com")
		got := map[string]string{}
		for _, port := range []int{proxyPort, 8081} {
			for _, host := range []string{
				"a.example.com", "b.example.com", "a.example.com:80", "a.example.com:8443", "b.example.com:80", "a.example.com.",
				"a.example.com.:80",
				"a.example.com:", "other.example.com", "example.com", "com", "10.0.0.1", "[::1]:80", "a.example.com:80:90",
				"A.Example.com", "B.EXAMPLE.COM:80",
			} {
				got[fmt.Sprint(port, " ", host)] = ask(t, port, host)
			}
		}
		return got
	}
	var unscoped, scoped map[string]string
	t.Run("unscoped", func(t *testing.T) { unscoped = answers(t, false) })
	t.Run("scoped", func(t *testing.T) { scoped = answers(t, true) })
	if unscoped["10080 b.example.com"] != "200 b.example.com" || unscoped["8081 b.example.com"] != "404 " {
		t.Fatalf("the unscoped Gateway does not tell listeners apart: %v", unscoped)
	}
	for _, upper := range []string{"10080 A.Example.com", "8081 A.Example.com", "10080 B.EXAMPLE.COM:80"} {
		if unscoped[upper][:3] != "200" || scoped[upper] != "404 " {
			t.Errorf("%s: unscoped %q, scoped %q; want 200 and 404 as docs/scoped-routes.md says", upper, unscoped[upper],
				scoped[upper])
		}
		delete(unscoped, upper)
		delete(scoped, upper)
	}
	if diff := cmp.Diff(unscoped, scoped); diff != "" {
		t.Errorf("the scoped Gateway answers otherwise (-unscoped +scoped):\n%s", diff)
	}
}

// TestScopesChangeOneByOne: a host is added and removed and nothing else changes, also after a restart of the control
// plane, which sends nothing.
func TestScopesChangeOneByOne(t *testing.T) {
	c := startTranslated(t, true)
	envoytest.WaitFor(t, "both ports, without any route", func() bool {
		return ask(t, proxyPort, "a.example.com") == "404 " && ask(t, 8081, "a.example.com") == "404 "
	})
	c.apply(c.route("a.example.com", nil))
	c.serves(proxyPort, "a.example.com")
	c.serves(8081, "a.example.com")
	b := c.route("b.example.com", nil)
	c.apply(b)
	c.serves(8081, "b.example.com")
	c.apply(c.route("first.example.com", new(gwapiv1.SectionName("on-80"))))
	c.serves(proxyPort, "first.example.com")
	for _, pretended := range [][]string{nil, {"shop/web/on-80"}, {"shop/web/on-80", "shop/web/on-80"}} {
		if got := ask(t, 8081, "first.example.com", pretended...); got != "404 " {
			t.Errorf("a client that says its listener is %v is answered %q by the other, want 404", pretended, got)
		}
		if got := ask(t, proxyPort, "first.example.com", pretended...); got != "200 first.example.com" {
			t.Errorf("a client that says its listener is %v is answered %q, want 200 and a backend that is told nothing of it",
				pretended, got)
		}
	}
	c.quiet()
	c.reports(func(p translator.Proxy, _ bool) string {
		if !p.Scopes || len(p.Rejected) > 0 {
			return fmt.Sprintf("%+v, want scopes and no rejections", p)
		}
		return ""
	})
	reloads := func() int {
		sum := 0
		for _, listener := range []string{"on-80", "on-8081"} {
			for _, prefix := range []string{"http-10080", "http-8081"} {
				sum += c.stat(fmt.Sprintf("http.%s.scoped_rds.shop/web/%s.config_reload", prefix, listener))
			}
		}
		return sum
	}
	before := reloads()
	c.restart()
	c.quiet()
	if after := reloads(); after != before || before == 0 {
		t.Errorf("Envoy has loaded scopes %d times after the restart and %d times before, want the same", after, before)
	}
	c.delete(b)
	envoytest.WaitFor(t, "the route to be gone", func() bool { return ask(t, 8081, "b.example.com") == "404 " })
	c.serves(8081, "a.example.com")

	// All listeners share the subscription of the first of them.
	c.apply(c.gateway(true, 8081))
	envoytest.WaitFor(t, "the first port to close", func() bool {
		_,
			err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", proxyPort))
		return err != nil
	})
	c.apply(c.route("c.example.com", nil))
	c.serves(8081, "c.example.com")
	c.serves(8081, "a.example.com")
}

// Admission denies switching a Gateway. A switch that bypasses admission loses no request.
func TestSwitchToScopesAndBackLosesNothing(t *testing.T) {
	var made translated
	const asked = "127.0.0.1" // The host in the requests of load.
	c := startTranslated(t, false, made.route(asked, nil))
	c.serves(proxyPort, asked)
	stop := load(t, 4)
	for i := range 6 {
		c.apply(c.gateway(i%2 == 0, 80, 8081))
		time.Sleep(grace * time.Duration(1+i%3))
		c.serves(proxyPort, asked)
	}
	c.quiet() // Unused resources have been removed.
	c.serves(proxyPort, asked)
	stop()
}

// TestRejectedScopeLeavesTheRestServing: the rejected scope is found and nothing else is affected, even if Envoy's
// message names no scope.
func TestRejectedScopeLeavesTheRestServing(t *testing.T) {
	c := startTranslated(t, true)
	c.apply(c.route("a.example.com", nil))
	c.serves(proxyPort, "a.example.com")
	name := func(host string) string { return "shop/web/on-80/" + host }
	scope := func(host, match string) *translator.Resource {
		return made(&routev3.ScopedRouteConfiguration{}, name(host), fmt.Sprintf(`
name: %s
key: {fragments: [{string_key: %s}, {string_key: shop/web/on-80}]}
route_configuration:
  name: %s
  request_headers_to_remove: [x-gatehouse-listener]
  virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {%s}, route: {cluster: service/shop/echo/80}}]}]
`, name(host), host, name(host), match))
	}
	c.publish(scope("b.example.com", "prefix: /"), scope("bad.example.com", `safe_regex: {regex: "(?=x)"}`),
		scope("c.example.com", "prefix: /"))
	c.serves(proxyPort, "b.example.com")
	c.serves(proxyPort, "c.example.com")
	c.serves(proxyPort, "a.example.com")
	var p translator.Proxy
	envoytest.WaitFor(t, "the rejected route to be found", func() bool {
		p, _ = c.reported()
		return len(p.Guilty) == 1
	})
	for hash, words := range p.Guilty {
		if !strings.Contains(words, "(?=") {
			t.Errorf("of %s Envoy's words are %q, want those about the expression", hash, words)
		}
	}
	c.quiet()
	c.publish(scope("bad.example.com", "prefix: /"))
	c.serves(proxyPort, "bad.example.com")
	c.quiet()
	c.wantRejected(nil)
}
