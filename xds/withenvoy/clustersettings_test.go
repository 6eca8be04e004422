package withenvoy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// settled is a Service of this name with an endpoint for each handler, and a route to it that is covered by a policy with
// the settings. Retries are off, so that every failure is seen. It returns the host of the route.
func (c *translated) settled(name string, settings v1alpha1.ClusterSettings, objects ...translator.Object) string {
	c.t.Helper()
	host := name + ".example.com"
	route := c.route(host, nil)
	route.Spec.Rules[0].BackendRefs[0].Name = gwapiv1.ObjectName(name)
	policy := c.retrying("HTTPRoute", gwapiv1.ObjectName(host), 0)
	retry := policy.Spec.Retry
	policy.Spec.ClusterSettings = settings
	policy.Spec.Retry = retry
	c.apply(append(objects, route, policy)...)
	return host
}

// named answers with its name, and does something else before.
func named(name string, before ...http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, do := range before {
			do(w, r)
		}
		_, _ = io.WriteString(w, name)
	})
}

// tally counts the answers to requests for a host, by status and body.
func tally(t *testing.T, host string, requests int, headers ...string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range requests {
		response := verbatim(t, http.MethodGet, host, "/", headers...)
		got[fmt.Sprint(response.StatusCode, " ", content(response))]++
	}
	return got
}

// TestClusterSettings shows the effect of each part of ClusterSettings with one Envoy.
func TestClusterSettings(t *testing.T) {
	c := startTranslated(t, false)
	c.apply(c.route("ready.example.com", nil))
	c.serves(proxyPort, "ready.example.com")
	for name, test := range map[string]func(*testing.T, *translated){
		"outlier": outlierIsEjected, "active": activeCheckTakesOut, "tcp": tcpCheckTakesOut, "grpc": grpcCheckTakesOut,
		"overflow": overflowIsAnswered, "proxy": proxyProtocolArrives, "override": requestsNameTheirEndpoint,
		"zones": zonesHaveWeights, "utilization": busyEndpointsGetLess, "ping": keepaliveAsks,
		"connections": connectionsAreLimited, "warm": attachingChecksFailsNothing,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

// outlierIsEjected: an endpoint that answers 500 twice gets no more requests, but for those that are sent before Envoy's main
// thread has heard of it.
func outlierIsEjected(t *testing.T, c *translated) {
	fails := named("bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	host := c.settled("outlier", v1alpha1.ClusterSettings{HealthCheck: &v1alpha1.HealthCheck{
		Passive: &v1alpha1.PassiveHealthCheck{Consecutive5xxErrors: new(uint32(2)), MaxEjectionPercent: new(int32(50))},
	}}, c.behind("outlier", named("good"), fails)...)
	bad := 0
	envoytest.WaitFor(t, "only good answers", func() bool {
		got := tally(t, host, 20)
		bad += got["500 bad"]
		return got["200 good"] == 20
	})
	if bad < 2 || bad > 4 {
		t.Errorf("%d requests were answered by the bad endpoint, want 2, or few more", bad)
	}
}

// sick is a backend whose answers to health checks can be changed. It remembers the hosts that were asked for.
type sick struct {
	name string
	ill  atomic.Bool
	// hang lets health checks wait for ever.
	hang  bool
	mu    sync.Mutex
	asked map[string]bool
}

func (s *sick) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/healthz" {
		_, _ = io.WriteString(w, s.name)
		return
	}
	s.mu.Lock()
	if s.asked == nil {
		s.asked = map[string]bool{}
	}
	s.asked[r.Host] = true
	s.mu.Unlock()
	if s.hang {
		<-r.Context().Done()
	}
	if s.ill.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func askingHealth() *v1alpha1.HealthCheck {
	return &v1alpha1.HealthCheck{
		PanicThreshold: new(uint32(0)),
		Active: &v1alpha1.ActiveHealthCheck{
			Type: v1alpha1.ActiveHealthCheckerTypeHTTP, Interval: new(gwapiv1.Duration("100ms")),
			Timeout: new(gwapiv1.Duration("600ms")),
			HTTP:    &v1alpha1.HTTPActiveHealthChecker{Path: "/healthz"},
		},
	}
}

// activeCheckTakesOut: an endpoint that says it is ill gets no requests until it says that it is well. If all are
// ill, nothing is sent, because the panic threshold is 0. The check asks for the host of the route.
func activeCheckTakesOut(t *testing.T, c *translated) {
	one, two := &sick{name: "one"}, &sick{name: "two"}
	two.ill.Store(true)
	host := c.settled("active", v1alpha1.ClusterSettings{HealthCheck: askingHealth()}, c.behind("active", one, two)...)
	envoytest.WaitFor(t, "the route", func() bool { return tally(t, host, 1)["200 one"] == 1 })
	if got := tally(t, host, 40); got["200 one"] != 40 {
		t.Errorf("with one endpoint ill: %v", got)
	}
	two.ill.Store(false)
	envoytest.WaitFor(t, "the endpoint that is well again", func() bool { return tally(t, host, 10)["200 two"] > 0 })
	one.ill.Store(true)
	two.ill.Store(true)
	envoytest.WaitFor(t, "no endpoint", func() bool {
		return verbatim(t, http.MethodGet, host, "/").StatusCode == http.StatusServiceUnavailable
	})
	one.mu.Lock()
	defer one.mu.Unlock()
	if len(one.asked) != 1 || !one.asked[host] {
		t.Errorf("the checks ask for the hosts %v, want %s", one.asked, host)
	}
}

// tcpCheckTakesOut: an endpoint that refuses connections gets no requests.
func tcpCheckTakesOut(t *testing.T, c *translated) {
	host := c.settled("tcp", v1alpha1.ClusterSettings{HealthCheck: &v1alpha1.HealthCheck{
		Active: &v1alpha1.ActiveHealthCheck{
			Type: v1alpha1.ActiveHealthCheckerTypeTCP, Interval: new(gwapiv1.Duration("100ms")), TCP: &v1alpha1.TCPActiveHealthChecker{},
		},
	}}, append(c.behind("tcp", named("good")), c.further("tcp", "http", refusing(t)))...)
	envoytest.WaitFor(t, "the route", func() bool { return tally(t, host, 1)["200 good"] == 1 })
	if got := tally(t, host, 40); got["200 good"] != 40 {
		t.Errorf("with an endpoint that refuses connections: %v", got)
	}
}

// grpcCheckTakesOut: an endpoint whose server says by gRPC that it does not serve gets no requests.
func grpcCheckTakesOut(t *testing.T, c *translated) {
	serve := func(name string, status healthv1.HealthCheckResponse_ServingStatus) int {
		checks, answers := grpc.NewServer(), named(name)
		state := health.NewServer()
		state.SetServingStatus("shop.Orders", status)
		healthv1.RegisterHealthServer(checks, state)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				checks.ServeHTTP(w, r)
			} else {
				answers.ServeHTTP(w, r)
			}
		}))
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
		t.Cleanup(server.Close)
		return server.Listener.Addr().(*net.TCPAddr).Port
	}
	objects := c.behind("grpc")
	objects[0].(*corev1.Service).Spec.Ports[0].AppProtocol = new("kubernetes.io/h2c")
	objects = append(objects, c.further("grpc", "http", serve("good", healthv1.HealthCheckResponse_SERVING)),
		c.further("grpc", "http", serve("bad", healthv1.HealthCheckResponse_NOT_SERVING)))
	host := c.settled("grpc", v1alpha1.ClusterSettings{HealthCheck: &v1alpha1.HealthCheck{
		Active: &v1alpha1.ActiveHealthCheck{
			Type: v1alpha1.ActiveHealthCheckerTypeGRPC, Interval: new(gwapiv1.Duration("100ms")),
			GRPC: &v1alpha1.GRPCActiveHealthChecker{Service: new("shop.Orders")},
		},
	}}, objects...)
	envoytest.WaitFor(t, "the route", func() bool { return tally(t, host, 1)["200 good"] == 1 })
	if got := tally(t, host, 40); got["200 good"] != 40 {
		t.Errorf("with an endpoint that does not serve: %v", got)
	}
}

// overflowIsAnswered: a request above the limit of parallel requests is answered 503 without reaching the backend.
func overflowIsAnswered(t *testing.T, c *translated) {
	var reached atomic.Int32
	release := make(chan struct{})
	host := c.settled("overflow", v1alpha1.ClusterSettings{CircuitBreaker: &v1alpha1.CircuitBreaker{
		MaxParallelRequests: new(int64(1)),
	}}, c.behind("overflow", named("done", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			reached.Add(1)
			<-release
		}
	}))...)
	envoytest.WaitFor(t, "the route", func() bool { return tally(t, host, 1)["200 done"] == 1 })
	first := make(chan int)
	go func() { first <- verbatim(t, http.MethodGet, host, "/wait").StatusCode }()
	envoytest.WaitFor(t, "the first request", func() bool { return reached.Load() == 1 })
	second := verbatim(t, http.MethodGet, host, "/wait")
	if body := content(second); second.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "overflow") ||
		reached.Load() != 1 {
		t.Errorf("the second request is answered %d %q, and %d reached the backend", second.StatusCode, body, reached.Load())
	}
	close(release)
	if got := <-first; got != http.StatusOK {
		t.Errorf("the first request is answered %d", got)
	}
}

// proxied is a backend that answers with the client's address by the header of the PROXY protocol.
func proxied(t *testing.T) int {
	listener := listen(t)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = connection.Close() }()
				reader := bufio.NewReader(connection)
				told, err := proxyHeader(reader)
				for err == nil {
					if _, err = http.ReadRequest(reader); err == nil {
						_, err = fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(told), told)
					}
				}
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

// proxyHeader reads the header of either version: the version, and the address of the client.
func proxyHeader(reader *bufio.Reader) (string, error) {
	signature := []byte("\r\n\r\n\x00\r\nQUIT\n")
	if start, err := reader.Peek(len(signature)); err != nil || !bytes.Equal(start, signature) {
		line, err := reader.ReadString('\n')
		if fields := strings.Fields(line); len(fields) == 6 && fields[0] == "PROXY" {
			return "V1 " + fields[2], err
		}
		return "no header in " + line, err
	}
	head := make([]byte, len(signature)+4)
	if _, err := io.ReadFull(reader, head); err != nil {
		return "", err
	}
	rest := make([]byte, binary.BigEndian.Uint16(head[len(head)-2:]))
	if _, err := io.ReadFull(reader, rest); err != nil || len(rest) < net.IPv4len {
		return "", fmt.Errorf("a header of %d bytes: %w", len(rest), err)
	}
	return "V2 " + net.IP(rest[:net.IPv4len]).String(), nil
}

// proxyProtocolArrives: endpoints are told the client's address at the beginning of each connection.
func proxyProtocolArrives(t *testing.T, c *translated) {
	for version, want := range map[v1alpha1.ProxyProtocolVersion]string{"V1": "200 V1 127.0.0.1", "V2": "200 V2 127.0.0.1"} {
		name := "proxy-" + strings.ToLower(string(version))
		host := c.settled(name, v1alpha1.ClusterSettings{ProxyProtocol: &v1alpha1.ProxyProtocol{Version: version}},
			append(c.behind(name), c.further(name, "http", proxied(t)))...)
		envoytest.WaitFor(t, want, func() bool { return tally(t, host, 1)[want] == 1 })
	}
}

// requestsNameTheirEndpoint: a header decides which endpoint gets a request; without it both get some. The kernel asks
// the endpoints of idle connections whether they are still there.
func requestsNameTheirEndpoint(t *testing.T, c *translated) {
	objects := c.behind("override", named("one"), named("two"))
	second := objects[2].(*discoveryv1.EndpointSlice)
	host := c.settled("override", v1alpha1.ClusterSettings{LoadBalancer: &v1alpha1.LoadBalancer{
		Type: v1alpha1.RoundRobinLoadBalancerType,
		EndpointOverride: &v1alpha1.EndpointOverride{
			ExtractFrom: []v1alpha1.EndpointOverrideExtractFrom{{Header: new("X-Endpoint")}},
		},
	}, TCPKeepalive: &v1alpha1.TCPKeepalive{IdleTime: new(gwapiv1.Duration("7s"))}}, objects...)
	envoytest.WaitFor(t, "both endpoints", func() bool { return len(tally(t, host, 4)) == 2 })
	envoytest.WaitFor(t, "a timer of keepalives", func() bool { return keptAlive(t, *second.Ports[0].Port) })
	if got := tally(t, host, 20, fmt.Sprintf("X-Endpoint: 127.0.0.1:%d", *second.Ports[0].Port)); got["200 two"] != 20 {
		t.Errorf("requests that name the second endpoint are answered %v", got)
	}
	if got := tally(t, host, 20, "X-Endpoint: 192.0.2.9:80"); got["200 one"]+got["200 two"] != 20 {
		t.Errorf("requests that name no endpoint of the backend are answered %v", got)
	}
}

// keptAlive reports whether a connection to a port of 127.0.0.1 has a timer of keepalives, which is kind 2 of
// /proc/net/tcp (proc(5)).
func keptAlive(t *testing.T, port int32) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 5 && fields[2] == fmt.Sprintf("0100007F:%04X", port) &&
			strings.HasPrefix(fields[5], "02:") {
			return true
		}
	}
	return false
}

// inZones puts the endpoints of behind into zones.
func inZones(objects []translator.Object, zones ...string) []translator.Object {
	for i, zone := range zones {
		objects[i+1].(*discoveryv1.EndpointSlice).Endpoints[0].Zone = &zone
	}
	return objects
}

// zonesHaveWeights: zones get requests by their weights, and not by the number of their endpoints.
func zonesHaveWeights(t *testing.T, c *translated) {
	host := c.settled("zones", v1alpha1.ClusterSettings{LoadBalancer: &v1alpha1.LoadBalancer{
		Type: v1alpha1.RoundRobinLoadBalancerType,
		ZoneAware: &v1alpha1.ZoneAware{WeightedZones: []v1alpha1.WeightedZoneConfig{
			{Zone: "a", Weight: 8}, {Zone: "b", Weight: 1}, {Zone: "d", Weight: 0},
		}},
	}}, inZones(c.behind("zones", named("a"), named("b"), named("b"), named("c"), named("d")), "a", "b", "b", "c", "d")...)
	envoytest.WaitFor(t, "the route", func() bool { return tally(t, host, 1)["200 a"] == 1 })
	got := tally(t, host, 200)
	for name, want := range map[string]int{"200 a": 160, "200 b": 20, "200 c": 20, "200 d": 0} {
		if n := got[name]; n < want-4 || n > want+4 {
			t.Errorf("%s: %d of 200, want %d", name, n, want)
		}
	}
}

// busyEndpointsGetLess: an endpoint that reports nine times the load gets fewer requests, and clients do not see the
// reports.
func busyEndpointsGetLess(t *testing.T, c *translated) {
	reports := func(load string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Endpoint-Load-Metrics", "TEXT cpu_utilization="+load+",rps_fractional=100")
		}
	}
	host := c.settled("utilization", v1alpha1.ClusterSettings{LoadBalancer: &v1alpha1.LoadBalancer{
		Type: v1alpha1.BackendUtilizationLoadBalancerType,
		BackendUtilization: &v1alpha1.BackendUtilization{
			BlackoutPeriod: new(gwapiv1.Duration("0s")), WeightUpdatePeriod: new(gwapiv1.Duration("100ms")),
		},
	}}, c.behind("utilization", named("idle", reports("0.1")), named("busy", reports("0.9")))...)
	envoytest.WaitFor(t, "more requests for the idle endpoint", func() bool {
		got := tally(t, host, 40)
		return got["200 busy"] > 0 && got["200 idle"] > 5*got["200 busy"]
	})
	if got := verbatim(t, http.MethodGet, host, "/").Header.Get("Endpoint-Load-Metrics"); got != "" {
		t.Errorf("the client sees the report %q", got)
	}
}

// keepaliveAsks: Envoy asks at intervals whether an endpoint is still there.
func keepaliveAsks(t *testing.T, c *translated) {
	var pings atomic.Int32
	port := servesFrames(t, func(framer *http2.Framer, frame http2.Frame) bool {
		ping, ok := frame.(*http2.PingFrame)
		if !ok || ping.IsAck() {
			return false
		}
		pings.Add(1)
		_ = framer.WritePing(true, ping.Data)
		return true
	})
	objects := c.behind("ping")
	objects[0].(*corev1.Service).Spec.Ports[0].AppProtocol = new("kubernetes.io/h2c")
	host := c.settled("ping", v1alpha1.ClusterSettings{HTTP2: &v1alpha1.HTTP2Settings{
		ConnectionKeepalive: &v1alpha1.HTTP2ConnectionKeepalive{Interval: new(gwapiv1.Duration("100ms"))},
	}}, append(objects, c.further("ping", "http", port))...)
	envoytest.WaitFor(t, "the route", func() bool { return verbatim(t, http.MethodGet, host, "/").StatusCode == 200 })
	envoytest.WaitFor(t, "questions", func() bool { return pings.Load() >= 3 })
}

// connectionsAreLimited: connections are opened before they are needed, carry as many requests as they may, and are
// closed when they are idle. Their buffers may have other sizes.
func connectionsAreLimited(t *testing.T, c *translated) {
	var opened, closed atomic.Int32
	server := httptest.NewUnstartedServer(named("done"))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	host := c.settled("connections", v1alpha1.ClusterSettings{
		Connection: &v1alpha1.BackendConnection{
			BufferLimit: quantity("64Ki"), SocketBufferLimit: quantity("128Ki"),
			Preconnect: &v1alpha1.PreconnectPolicy{PerEndpointPercent: new(uint32(300))},
		},
		CircuitBreaker: &v1alpha1.CircuitBreaker{MaxRequestsPerConnection: new(int64(1))},
		Timeout:        &v1alpha1.Timeout{HTTP: &v1alpha1.HTTPTimeout{ConnectionIdleTimeout: new(gwapiv1.Duration("300ms"))}},
	}, append(c.behind("connections"), c.further("connections", "http", server.Listener.Addr().(*net.TCPAddr).Port))...)
	envoytest.WaitFor(t, "the route", func() bool { return tally(t, host, 1)["200 done"] == 1 })
	if n := opened.Load(); n < 2 {
		t.Errorf("one request opened %d connections, want more", n)
	}
	tally(t, host, 10)
	if n := opened.Load(); n < 11 {
		t.Errorf("11 requests opened %d connections, want one for each at least", n)
	}
	envoytest.WaitFor(t, "idle connections to be closed", func() bool { return closed.Load() == opened.Load() })
}

// attachingChecksFailsNothing: a route changes to a cluster with a health check when every endpoint has been asked,
// although one of them never answers checks.
func attachingChecksFailsNothing(t *testing.T, c *translated) {
	slow := &sick{name: "slow", hang: true}
	host := c.settled("warm", v1alpha1.ClusterSettings{}, c.behind("warm", &sick{name: "one"}, slow)...)
	envoytest.WaitFor(t, "both endpoints", func() bool { return len(tally(t, host, 10)) == 2 })
	policy := c.retrying("HTTPRoute", gwapiv1.ObjectName(host), 0)
	policy.Spec.HealthCheck = askingHealth()
	c.apply(policy)
	envoytest.WaitFor(t, "the check", func() bool {
		got := tally(t, host, 20)
		if got["200 one"]+got["200 slow"] != 20 {
			t.Fatalf("while a health check is attached, requests are answered %v", got)
		}
		return got["200 slow"] == 0
	})
	c.delete(policy)
	envoytest.WaitFor(t, "both endpoints again", func() bool {
		got := tally(t, host, 20)
		if got["200 one"]+got["200 slow"] != 20 {
			t.Fatalf("while a health check is removed, requests are answered %v", got)
		}
		return got["200 slow"] > 0
	})
}

// quantity is a number of bytes.
func quantity(text string) *resource.Quantity { return new(resource.MustParse(text)) }

// TestOwnZoneIsPreferred: requests stay in Envoy's own zone, all of them or as many as the zone's share of endpoints
// allows, and go everywhere without preferLocal. It depends on how the fleet is spread over the zones.
func TestOwnZoneIsPreferred(t *testing.T) {
	c := startWith(t, translator.Settings{InGatewayNamespace: true}, false)
	fleet := &discoveryv1.EndpointSlice{ObjectMeta: c.meta("fleet"), AddressType: discoveryv1.AddressTypeIPv4}
	fleet.Labels = envoyproxy.OwnerLabels("shop", "web")
	for i, zone := range []string{ownZone, ownZone, "there", "there"} {
		fleet.Endpoints = append(fleet.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("192.0.2.%d", i+1)}, Zone: &zone})
	}
	c.apply(fleet, c.route("ready.example.com", nil))
	c.serves(proxyPort, "ready.example.com")
	for name, tc := range map[string]struct {
		zones *v1alpha1.ZoneAware
		// here is how many of 200 requests stay, give or take most.
		here, most int
	}{
		"any":    {nil, 50, 2},
		"forced": {&v1alpha1.ZoneAware{PreferLocal: &v1alpha1.PreferLocalZone{Force: &v1alpha1.ForceLocalZone{}, MinEndpointsThreshold: new(uint64(1))}}, 200, 0},
		// The zone has a quarter of the endpoints and half of the Envoys, so they keep half of their requests. Five
		// standard deviations of a binomial distribution.
		"shared": {&v1alpha1.ZoneAware{PreferLocal: &v1alpha1.PreferLocalZone{MinEndpointsThreshold: new(uint64(1))}}, 100, 36},
	} {
		t.Run(name, func(t *testing.T) {
			objects := inZones(c.behind(name, named("here"), named("there"), named("there"), named("there")),
				ownZone, "there", "there", "there")
			host := c.settled(name, v1alpha1.ClusterSettings{
				LoadBalancer: &v1alpha1.LoadBalancer{Type: v1alpha1.RoundRobinLoadBalancerType, ZoneAware: tc.zones},
			}, objects...)
			envoytest.WaitFor(t, "the route", func() bool { return verbatim(t, http.MethodGet, host, "/").StatusCode == 200 })
			c.quiet()
			if got := tally(t, host, 200)["200 here"]; got < tc.here-tc.most || got > tc.here+tc.most {
				t.Errorf("%d of 200 requests stay in the zone, want %d", got, tc.here)
			}
		})
	}
}
