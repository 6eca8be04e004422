package withenvoy

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/bootstrap"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// TestRouteStatNames: Envoy counts requests, connections and datagrams under the names that the policy of a Gateway gives
// them, and a policy on a route has its own name.
func TestRouteStatNames(t *testing.T) {
	m := &translated{generation: 100}
	gateway := m.gateway(false, 80)
	gateway.Spec.Listeners = append(gateway.Spec.Listeners,
		gwapiv1.Listener{Name: "tcp", Protocol: gwapiv1.TCPProtocolType, Port: 9000},
		gwapiv1.Listener{Name: "udp", Protocol: gwapiv1.UDPProtocolType, Port: 9000})
	objects := []translator.Object{gateway, m.tcpRoute("tcp", toService("tcp", 1)), m.udpRoute("udp", toService("udp", 1))}
	objects = append(objects, m.service("tcp", corev1.ProtocolTCP, speaker(t, listen(t), "tcp"))...)
	objects = append(objects, m.service("udp", corev1.ProtocolUDP, answerer(t, "udp"))...)
	c := startTranslated(t, false, objects...)
	c.generation = 1000
	route, other := c.route("web.test", nil), c.route("other.test", nil)
	route.Spec.Rules[0].Name = new(gwapiv1.SectionName("all"))
	c.apply(route, other, c.traffic("HTTPRoute", "other.test", "{telemetry: {metrics: {routeStatName: own}}}"),
		c.traffic("Gateway", "web", `{telemetry: {metrics: {routeStatName: "%ROUTE_KIND%/%ROUTE_NAMESPACE%/%ROUTE_NAME%/%ROUTE_RULE_NAME%"}}}`))
	c.serves(proxyPort, "web.test")
	c.serves(proxyPort, "other.test")
	counts := func(name string, count func()) {
		t.Helper()
		envoytest.WaitFor(t, name+" to count", func() bool {
			before := c.stat(name)
			count()
			return c.stat(name) > before
		})
	}
	counts("vhost.shop/web/on-80/web_test.route.HTTPRoute/shop/web_test/all.upstream_rq_200", func() { ask(t, proxyPort, "web.test") })
	counts("vhost.shop/web/on-80/other_test.route.own.upstream_rq_200", func() { ask(t, proxyPort, "other.test") })
	counts("tcp.TCPRoute/shop/tcp/-.downstream_cx_total", func() { heard(9000, "", nil) })
	counts("udp.UDPRoute/shop/udp/-.downstream_sess_total", func() { answered(9000) })
	const label = `envoy_route="HTTPRoute/shop/web_test/all"`
	if _, page := envoytest.Get(bootstrap.AdminPort, "/stats/prometheus"); !strings.Contains(page, label) {
		t.Errorf("no statistic for Prometheus has %s", label)
	}
}

// spans is a collector of Zipkin.
type spans struct {
	sync.Mutex
	got []span
}

// span is what a span of Zipkin has of a request.
type span struct {
	Name, Kind string
	Tags       map[string]string
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var got []span
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &got)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.Lock()
	defer s.Unlock()
	s.got = append(s.got, got...)
	w.WriteHeader(http.StatusAccepted)
}

// of returns the first span with a tag.
func (s *spans) of(tag, value string) *span {
	s.Lock()
	defer s.Unlock()
	for i := range s.got {
		if s.got[i].Tags[tag] == value {
			return &s.got[i]
		}
	}
	return nil
}

// named is the name of the span of a kind that belongs to a request, in lower case.
func (s *spans) named(kind, user string) string {
	s.Lock()
	defer s.Unlock()
	for _, got := range s.got {
		if got.Kind == kind && got.Tags["user"] == user {
			return strings.ToLower(got.Name)
		}
	}
	return ""
}

// TestTracing: an Envoy that sends spans does with routes what their policies say. Gatehouse configures no such Envoy yet,
// so this one has the tracing of the routes and a connection manager that is written by hand.
func TestTracing(t *testing.T) {
	c := startTranslated(t, false)
	policies := map[string]string{
		"all": `{tags: {user: "%REQ(x-user)%", discount: 5% off}, customTags: {team: {literal: {value: orders}},
			agent: {type: RequestHeader, requestHeader: {name: x-agent, defaultValue: nobody}}}, spanName: {server: "%REQ(:METHOD)% shop", client: to shop}}`,
		"none":   `{samplingFraction: {numerator: 0}, tags: {user: "%REQ(x-user)%"}}`,
		"asked":  `{samplingFraction: {numerator: 0}, clientSamplingFraction: {numerator: 100}, tags: {user: "%REQ(x-user)%"}}`,
		"capped": `{overallSamplingFraction: {numerator: 0}, tags: {user: "%REQ(x-user)%"}}`,
	}
	config := &routev3.RouteConfiguration{}
	for host, tracing := range policies {
		c.apply(c.route(host, nil), c.traffic("HTTPRoute", host, "{telemetry: {tracing: "+tracing+"}}"))
	}
	for host := range policies {
		c.serves(proxyPort, host)
		virtual := &routev3.VirtualHost{Name: host, Domains: []string{host}}
		virtual.Routes = []*routev3.Route{{
			Match:   &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action:  &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "answers"}}},
			Tracing: c.tracing(host),
		}}
		config.VirtualHosts = append(config.VirtualHosts, virtual)
	}
	collector := &spans{}
	server := httptest.NewServer(collector)
	t.Cleanup(server.Close)
	envoytest.Start(t, tracingConfig(t, config, backend(t, "answer"), server.Listener.Addr().(*net.TCPAddr).Port))
	send := func(host, user string, headers ...string) {
		t.Helper()
		envoytest.WaitFor(t, "an answer for "+host, func() bool {
			request, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", minimalPort), nil)
			request.Host = host
			request.Header.Set("X-User", user)
			for _, h := range headers {
				request.Header.Set(h, "a")
			}
			response, err := http.DefaultClient.Do(request)
			return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
		})
	}
	send("none", "of none")
	send("none", "of none that asks", "X-Client-Trace-Id")
	send("capped", "of capped")
	send("asked", "of asked")
	send("asked", "of asked that asks", "X-Client-Trace-Id")
	send("all", "of all")
	var got *span
	envoytest.WaitFor(t, "the spans", func() bool {
		got = collector.of("user", "of all")
		return got != nil && collector.of("user", "of asked that asks") != nil
	})
	for tag, want := range map[string]string{"user": "of all", "discount": "5% off", "team": "orders", "agent": "nobody"} {
		if got.Tags[tag] != want {
			t.Errorf("tag %s is %q, not %q", tag, got.Tags[tag], want)
		}
	}
	if got := collector.named("SERVER", "of all"); got != "get shop" {
		t.Errorf("the span of the client's request is %q", got)
	}
	if got := collector.named("CLIENT", "of all"); got != "to shop" {
		t.Errorf("the span of the request to the backend is %q", got)
	}
	for _, user := range []string{"of none", "of none that asks", "of capped", "of asked"} {
		if collector.of("user", user) != nil {
			t.Errorf("the request %s was traced", user)
		}
	}
}

// tracing is that of the route of a host, as the control plane has published it.
func (c *translated) tracing(host string) *routev3.Tracing {
	c.t.Helper()
	for _, r := range c.published {
		config := &routev3.RouteConfiguration{}
		if r.Type != url(config) || proto.Unmarshal(r.Body(), config) != nil {
			continue
		}
		for _, virtual := range config.VirtualHosts {
			if slices.Contains(virtual.Domains, host) {
				return virtual.Routes[0].Tracing
			}
		}
	}
	c.t.Fatalf("no route for %s was published", host)
	return nil
}

// tracingConfig is an Envoy that sends spans to a port. It calls a backend at another one.
func tracingConfig(t *testing.T, routes *routev3.RouteConfiguration, backend, collector int) string {
	t.Helper()
	encoded, err := protojson.Marshal(routes)
	if err != nil {
		t.Fatal(err)
	}
	return handwritten("traced", map[string]int{"answers": backend, "collector": collector},
		`use_remote_address: true
          tracing: {spawn_upstream_span: true, provider: {name: envoy.tracers.zipkin, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: collector, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON}}}`,
		string(encoded))
}
