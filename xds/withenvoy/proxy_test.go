package withenvoy

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	discoveryv1 "k8s.io/api/discovery/v1"

	"gatehouse/infra/envoytest"
)

const (
	// minimalPort is where the minimal Envoy listens.
	minimalPort = 10081
	// measured is the host of the only route.
	measured = "a.example.com"
	// clients send requests at the same time, each over a connection of its own, and each sends perClient in a round.
	clients, perClient = 16, 800
)

// BenchmarkProxy compares what a request costs two Envoys with one worker each: one that serves a route of a Gateway,
// and one with nothing but a connection manager, the router, a route and a cluster. The cost is the CPU time of the
// whole process, with the kernel's work for it. Each round sends the same requests to both, in turn, and gives one
// ratio: other work on the machine makes both slower. Both write the same access log, because operators want one
// whatever makes the configuration.
func BenchmarkProxy(b *testing.B) {
	c := startTranslated(b, false)
	objects := c.behind("answers", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = io.WriteString(w, "answer")
	}))
	route := c.route(measured, nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "answers"
	c.apply(append(objects, route)...)
	answers := *objects[1].(*discoveryv1.EndpointSlice).Ports[0].Port
	gatehouse := &proxy{port: proxyPort, envoy: c.envoy}
	minimal := &proxy{port: minimalPort, envoy: envoytest.Start(b, minimalConfig(b, c, answers))}
	turns := []*proxy{gatehouse, minimal}
	for _, p := range turns {
		envoytest.WaitFor(b, "the route", func() bool { return p.ask(http.DefaultClient) == nil })
		p.round(b) // The first requests open connections and allocate memory.
		p.costs, p.rates = nil, nil
	}
	var ratios []float64
	for b.Loop() {
		for _, p := range turns {
			p.round(b)
		}
		slices.Reverse(turns)
		ratios = append(ratios, gatehouse.costs[len(ratios)]/minimal.costs[len(ratios)])
	}
	b.ReportMetric(0, "ns/op") // The length of a round says nothing.
	b.ReportMetric(quantile(gatehouse.costs, 0.5), "us-of-Gatehouse")
	b.ReportMetric(quantile(minimal.costs, 0.5), "us-of-minimal")
	b.ReportMetric(quantile(gatehouse.rates, 0.5), "requests/s-of-Gatehouse")
	b.ReportMetric(quantile(minimal.rates, 0.5), "requests/s-of-minimal")
	b.ReportMetric(quantile(ratios, 0.25), "ratio-p25")
	b.ReportMetric(quantile(ratios, 0.5), "ratio-p50")
	b.ReportMetric(quantile(ratios, 0.75), "ratio-p75")
}

// proxy is an Envoy that is measured.
type proxy struct {
	port  int
	envoy *envoytest.Envoy
	// costs are microseconds of CPU time for one request, and rates are requests a second, of each round.
	costs, rates []float64
}

// round sends the requests of a round and waits for all answers.
func (p *proxy) round(b *testing.B) {
	b.Helper()
	start, before := time.Now(), p.envoy.CPU(b)
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			for range perClient {
				if err := p.ask(client); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	const requests = clients * perClient
	p.costs = append(p.costs, float64((p.envoy.CPU(b)-before).Nanoseconds())/1000/requests)
	p.rates = append(p.rates, requests/time.Since(start).Seconds())
}

// ask sends one request, which has to reach the backend.
func (p *proxy) ask(client *http.Client) error {
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/orders/17?full=true", p.port), nil)
	if err != nil {
		return err
	}
	request.Host = measured
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || string(body) != "answer" {
		return fmt.Errorf("port %d answers %d %q", p.port, response.StatusCode, body)
	}
	return nil
}

// minimalConfig is written by hand, except for the access log, which is that of the Gateway's listener.
func minimalConfig(b *testing.B, c *translated, backend int32) string {
	b.Helper()
	listener, manager := &listenerv3.Listener{}, &hcmv3.HttpConnectionManager{}
	if err := proto.Unmarshal(c.published[listenerName("shop/web/on-80")].Body(), listener); err != nil {
		b.Fatal(err)
	}
	if err := listener.DefaultFilterChain.Filters[0].GetTypedConfig().UnmarshalTo(manager); err != nil {
		b.Fatal(err)
	}
	log, err := protojson.Marshal(manager.AccessLog[0])
	if err != nil {
		b.Fatal(err)
	}
	return handwritten("minimal", map[string]int{"answers": int(backend)}, fmt.Sprintf("access_log: [%s]", log),
		`{virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: answers}}]}]}`)
}

// handwritten is the configuration of an Envoy with clusters on loopback ports, and a listener on minimalPort with the
// router alone. The rest of its connection manager is YAML, and its routes are in braces.
func handwritten(name string, clusters map[string]int, manager, routes string) string {
	var made []string
	for _, cluster := range slices.Sorted(maps.Keys(clusters)) {
		made = append(made, fmt.Sprintf(`{name: %[1]s, load_assignment: {cluster_name: %[1]s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}}}]}]}}`,
			cluster, clusters[cluster]))
	}
	return fmt.Sprintf(`
node: {id: %[1]s, cluster: %[1]s}
static_resources:
  clusters: [%[2]s]
  listeners:
  - name: %[1]s
    address: {socket_address: {address: 127.0.0.1, port_value: %[3]d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: %[1]s
          %[4]s
          route_config: %[5]s
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
`, name, strings.Join(made, ", "), minimalPort, manager, routes)
}

// quantile is the value below which a share of the values are.
func quantile(values []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(share*float64(len(sorted)-1)+0.5)]
}
