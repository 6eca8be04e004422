package withenvoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	"github.com/google/go-cmp/cmp"

	"gatehouse/infra/bootstrap"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
	"gatehouse/xds"
)

// simple is a Gateway with one listener and one route to a backend that says "a".
func simple(t *testing.T) []*translator.Resource {
	return []*translator.Resource{
		cluster("a", ""), endpoints("a", backend(t, "a")), listener("http", proxyPort, ""), routes("/", "a"),
	}
}

func TestEnvoyServes(t *testing.T) {
	c := start(t, simple(t)...)
	c.wantBody("/", "a")
	c.quiet()
	want := translator.Proxy{
		Fleet: fleetName, Node: podName,
		Listeners: map[string]string{"http": c.published[listenerName("http")].Version},
		Routes:    map[string]bool{"web": true}, Secrets: map[string]bool{}, Rejected: map[translator.Name]string{},
	}
	c.reports(func(p translator.Proxy, up bool) string {
		if !up {
			return "the proxy is not connected"
		}
		return cmp.Diff(want, p)
	})
	c.publish(endpoints("a", backend(t, "a, elsewhere")))
	c.wantBody("/", "a, elsewhere")
	c.publish(cluster("b", ""), endpoints("b", backend(t, "b")), routes("/b", "b", "/", "a"))
	c.wantBody("/b", "b")
}

// load sends requests without pause until it is stopped, and then returns the failures.
func load(t *testing.T, workers int) (stop func()) {
	var failed, sent atomic.Int64
	var first sync.Once
	done := make(chan struct{})
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			client := http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-done:
					return
				default:
				}
				sent.Add(1)
				code, body := 0, ""
				response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", proxyPort))
				if err == nil {
					content, _ := io.ReadAll(response.Body)
					code, body = response.StatusCode, string(content)
					_ = response.Body.Close()
				}
				if code != http.StatusOK {
					failed.Add(1)
					first.Do(func() { t.Errorf("the first failed request: %d %q %v", code, body, err) })
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() {
		t.Helper()
		close(done)
		group.Wait()
		if failed.Load() > 0 || sent.Load() == 0 {
			t.Errorf("%d of %d requests failed, want none", failed.Load(), sent.Load())
		}
		t.Logf("%d requests", sent.Load())
	}
}

func TestNoRequestFailsWhileClustersAreSwitched(t *testing.T) {
	c := start(t, simple(t)...)
	c.wantBody("/", "a")
	stop := load(t, 4)
	before := "a"
	for i := range 20 {
		name := fmt.Sprintf("next-%d", i)
		port := backend(t, name)
		c.change([]*translator.Resource{cluster(name, ""), endpoints(name, port), routes("/", name)},
			[]translator.Name{clusterName(before), endpointName(before)})
		c.wantBody("/", name)
		before = name
	}
	// A changed cluster of the same name warms while the old one serves.
	for i := range 10 {
		c.publish(cluster(before, fmt.Sprintf("connect_timeout: %ds", i+1)))
		time.Sleep(20 * time.Millisecond)
	}
	// The start configuration has three.
	envoytest.WaitFor(t, "the earlier clusters to go",
		func() bool { return c.stat("cluster_manager.active_clusters") == 4 })
	stop()
}

func TestNewRouteAnswers404And200Only(t *testing.T) {
	a := backend(t, "a")
	c := start(t, cluster("a", ""), endpoints("a", a), listener("http", proxyPort, ""), routes("/a", "a"))
	c.wantBody("/a", "a")
	pairs := []string{"/a", "a"}
	for i := range 20 {
		name := fmt.Sprintf("new-%d", i)
		port := backend(t, name)
		pairs = append(pairs, "/"+name+"/", name)
		c.publish(cluster(name, ""), endpoints(name, port), routes(pairs...))
		seen := map[int]int{}
		for deadline := time.Now().Add(10 * time.Second); seen[http.StatusOK] == 0 && time.Now().Before(deadline); {
			code, _ := envoytest.Get(proxyPort, "/"+name+"/")
			seen[code]++
		}
		delete(seen, http.StatusNotFound)
		if diff := cmp.Diff(map[int]int{http.StatusOK: 1}, seen); diff != "" {
			t.Fatalf("route %d came up with other answers than 404 and 200 (-want +got):\n%s", i, diff)
		}
	}
}

func TestNoRequestFailsWhileTheControlPlaneRestarts(t *testing.T) {
	c := start(t, simple(t)...)
	c.wantBody("/", "a")
	stop := load(t, 2)
	for range 3 {
		c.restart()
		c.quiet()
	}
	stop()
}

// updates are Envoy's counters of accepted configuration with a change.
func (c *controlled) updates() map[string]int {
	counts := map[string]int{}
	for _, name := range []string{
		"cluster_manager.cds.update_success", "cluster_manager.cluster_added", "cluster_manager.cluster_modified",
		"cluster_manager.cluster_removed",
		"listener_manager.lds.update_success", "listener_manager.listener_added", "listener_manager.listener_modified",
		"http.http.rds.web.config_reload",
	} {
		counts[name] = c.stat(name)
	}
	return counts
}

func TestRestartChangesNothing(t *testing.T) {
	c := start(t, simple(t)...)
	c.wantBody("/", "a")
	c.quiet()
	before := c.updates()
	c.restart()
	c.quiet()
	if diff := cmp.Diff(before, c.updates()); diff != "" {
		t.Fatalf("the restarted control plane changed Envoy (-before +after):\n%s", diff)
	}
	if before["cluster_manager.cds.update_success"] == 0 || before["http.http.rds.web.config_reload"] == 0 {
		t.Fatalf("Envoy's counters have other names than this test knows: %v", before)
	}

	// The changed resources now wait for endpoints and routes that Envoy requested before the restart.
	begin := time.Now()
	c.publish(cluster("a", "connect_timeout: 7s"), listener("http", proxyPort, "name: renamed"))
	c.quiet()
	after := c.updates()
	if after["cluster_manager.cluster_modified"] == before["cluster_manager.cluster_modified"] ||
		after["listener_manager.listener_modified"] == before["listener_manager.listener_modified"] {
		t.Fatalf("the cluster and the listener were not changed: %v", after)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the changed cluster and listener took %v to warm", took)
	}
	c.wantBody("/", "a")
}

func TestRejectedClusterLeavesTheRestServing(t *testing.T) {
	c := start(t, simple(t)...)
	c.wantBody("/", "a")
	good := backend(t, "good")
	c.publish(
		cluster("bad", "transport_socket: {name: nobody.has.this}"),
		cluster("good-1", ""), endpoints("good-1", good), cluster("good-2", ""), endpoints("good-2", good),
		endpoints("bad", good), routes("/1", "good-1", "/2", "good-2", "/bad", "bad", "/", "a"),
	)
	c.wantBody("/1", "good")
	c.wantBody("/2", "good")
	c.wantRejected(map[translator.Name]string{clusterName("bad"): "nobody.has.this"})
	c.publish(cluster("bad", ""))
	c.wantBody("/bad", "good")
	c.wantRejected(nil)
}

// Envoy's messages do not always name the resource. Then it is found by halves.
func TestRefusalWithoutANameIsTraced(t *testing.T) {
	resources := simple(t)
	pairs := []string{}
	for i := range 6 {
		name := fmt.Sprintf("e%d", i)
		resources = append(resources, cluster(name, ""), endpoints(name, backend(t, name)))
		pairs = append(pairs, "/"+name, name)
	}
	resources = append(resources, routes(append(pairs, "/", "a")...))
	c := start(t, resources...)
	c.wantBody("/e5", "e5")
	changed := []*translator.Resource{}
	for i := range 6 {
		name := fmt.Sprintf("e%d", i)
		changed = append(changed, endpoints(name, backend(t, name+", moved")))
	}
	changed[3].Pieces = [][]byte{{0x0a, 0x02, 'e', '3', 0x12, 0x02, 0x28, 0xff}} // A truncated field.
	changed[3].Version = "broken"
	c.publish(changed...)
	for _, i := range []int{0, 1, 2, 4, 5} {
		c.wantBody(fmt.Sprintf("/e%d", i), fmt.Sprintf("e%d, moved", i))
	}
	c.wantRejected(map[translator.Name]string{endpointName("e3"): ""})
	c.wantBody("/e3", "e3")
}

func TestRejectedListenerAndRoutes(t *testing.T) {
	c := start(t, simple(t)...)
	c.wantBody("/", "a")
	c.publish(
		listener("bad", proxyPort+1, "transport_socket: {name: nobody.has.this}"),
		listener("good", proxyPort+2, ""),
	)
	c.wantRejected(map[translator.Name]string{listenerName("bad"): "nobody.has.this"})
	envoytest.WaitFor(t, "the good listener", func() bool {
		code, _ := envoytest.Get(proxyPort+2, "/")
		return code == http.StatusOK
	})
	c.change(nil, []translator.Name{listenerName("bad")})
	broken := routes("/", "a")
	broken.Pieces = append(broken.Pieces, broken.Body()[2+len(web):]) // The virtual host twice, which Envoy rejects.
	broken.Version = "broken"
	c.publish(broken)
	envoytest.WaitFor(t, "Envoy to reject the routes", func() bool {
		p, _ := c.reported()
		return strings.Contains(p.Rejected[routesName], "wildcard domain")
	})
	c.wantBody("/", "a")
	c.publish(routes("/", "a", "/later", "a"))
	c.reports(func(p translator.Proxy, _ bool) string { return p.Rejected[routesName] })
}

// Envoy acknowledges no cluster while one warms, and this one warms while its resolver does not answer.
func TestClusterThatNeverWarmsHoldsUpNobody(t *testing.T) {
	c := start(t, simple(t)...)
	c.wantBody("/", "a")
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	c.publish(made(&clusterv3.Cluster{}, "silent", fmt.Sprintf(`
name: silent
type: STRICT_DNS
load_assignment:
  cluster_name: silent
  endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: silent.example, port_value: 80}}}}]}]
typed_dns_resolver_config:
  name: envoy.network.dns_resolver.cares
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    resolvers: [{socket_address: {protocol: UDP, address: 127.0.0.1, port_value: %d}}]
`, silent.LocalAddr().(*net.UDPAddr).Port)))
	for _, name := range []string{"b", "c", "d"} {
		c.publish(cluster(name, ""), endpoints(name, backend(t, name)), routes("/"+name, name, "/silent", "silent", "/", "a"))
		c.wantBody("/"+name, name)
		if got := c.stat("cluster_manager.warming_clusters"); got != 1 {
			t.Fatalf("%d clusters are warming when %s serves, want the silent one", got, name)
		}
	}
}

func (c *controlled) wantRejected(want map[translator.Name]string) {
	c.t.Helper()
	var p translator.Proxy
	deadline := time.Now().Add(10 * time.Second)
	for {
		p, _ = c.reported()
		ok := len(p.Rejected) == len(want)
		for n, words := range want {
			got, rejected := p.Rejected[n]
			ok = ok && rejected && strings.Contains(got, words)
		}
		if ok {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the proxy rejected %v, want %v", p.Rejected, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A secret that one cluster and one listener have is not requested again by the next that needs it.
func TestSharedSecretsWarmWhatIsChanged(t *testing.T) {
	ca, leaf := certificates(t, "localhost")
	_ = ca
	transport := func(kind string) string {
		return fmt.Sprintf(`transport_socket:
    name: envoy.transport_sockets.tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.%s
      common_tls_context:
        tls_certificate_sds_secret_configs: [{name: shared, sds_config: %s}]`, kind, ads)
	}
	upstream := strings.ReplaceAll(transport("UpstreamTlsContext"), "\n    ", "\n  ")
	dns := func(name string, timeout int) *translator.Resource {
		r := cluster(name, fmt.Sprintf("connect_timeout: %ds\n%s", timeout, upstream), secretName("shared"))
		return r
	}
	c := start(t, append(simple(t),
		dns("tls-1", 1), endpoints("tls-1", 1), secretOf(t, "shared", leaf),
		listener("https", proxyPort+1, transport("DownstreamTlsContext"), secretName("shared")),
	)...)
	c.wantBody("/", "a")
	c.quiet()
	for i := range 3 {
		c.publish(dns("tls-1", i+2), dns(fmt.Sprintf("more-%d", i), 1), endpoints(fmt.Sprintf("more-%d", i), 1),
			listener("https", proxyPort+1, fmt.Sprintf("name: change-%d\n  %s", i, transport("DownstreamTlsContext")),
				secretName("shared")))
		c.quiet()
		if i == 1 {
			c.restart()
			c.quiet()
		}
	}
	if got := c.stat("listener_manager.listener_modified"); got != 3 {
		t.Errorf("Envoy changed its listener %d times, want 3", got)
	}
	c.reports(func(p translator.Proxy, _ bool) string { return cmp.Diff(map[string]bool{"shared": true}, p.Secrets) })
}

func TestTokenExpires(t *testing.T) {
	c := start(t, simple(t)...)
	c.wantBody("/", "a")
	stop := load(t, 1)
	c.mu.Lock()
	id := c.tokens["first"]
	id.Expires = time.Now().Add(2 * time.Second)
	c.tokens["first"] = id
	c.tokens["second"] = xds.Identity{Subject: id.Subject, Fleets: id.Fleets}
	c.mu.Unlock()
	c.restart()
	c.token.Write(t, map[string]string{"token": "second"})
	time.Sleep(2500 * time.Millisecond)
	c.publish(cluster("b", ""), endpoints("b", backend(t, "b")), routes("/b", "b", "/", "a"))
	c.wantBody("/b", "b")
	if got := c.stat("control_plane.connected_state"); got != 1 {
		t.Errorf("Envoy's connected_state is %d on port %d, want 1", got, bootstrap.AdminPort)
	}
	stop()
}

// TestRejectedRouteIsTriedOut: a route that only Envoy rejects is distinguished from those that were changed together
// with it: they are served, and existing routes continue to work.
func TestRejectedRouteIsTriedOut(t *testing.T) {
	c := start(t, simple(t)...)
	c.wantBody("/", "a")
	stop := load(t, 2)
	bad := `{match: {safe_regex: {regex: "/(?=x)"}}, route: {cluster: a}, name: bad}`
	good := func(path string) string {
		return fmt.Sprintf(`{match: {path: %s}, route: {cluster: a}, name: %s}`, path, path[1:])
	}
	last := "{match: {prefix: /}, route: {cluster: a}}"
	c.publish(made(&routev3.RouteConfiguration{}, web,
		fmt.Sprintf("name: %s\nvirtual_hosts:\n- name: all\n  domains: ['*']\n  routes: [%s]\n", web,
			strings.Join([]string{good("/one"), good("/two"), bad, good("/three"), last}, ", ")), clusterName("a")))
	envoytest.WaitFor(t, "the rejected route to be found", func() bool {
		p, _ := c.reported()
		return len(p.Guilty) == 1
	})
	c.quiet()
	code, dump := envoytest.Get(bootstrap.AdminPort, "/config_dump?resource=dynamic_route_configs")
	for name, want := range map[string]bool{"one": true, "two": true, "three": true, "bad": false} {
		if got := strings.Contains(dump, fmt.Sprintf(`"name": %q`, name)); code != http.StatusOK || got != want {
			t.Errorf("Envoy has route %s: %t, want %t", name, got, want)
		}
	}
	p, _ := c.reported()
	for _, words := range p.Guilty {
		if !strings.Contains(words, "(?=") && !strings.Contains(words, "regex") {
			t.Errorf("Envoy's words do not tell of the expression: %s", words)
		}
	}
	stop()
}
