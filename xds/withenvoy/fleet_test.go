package withenvoy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"gatehouse/infra/bootstrap"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
	"gatehouse/xds"
)

const (
	fleetName = "shop/web"
	podName   = "web-1"
	ownZone   = "here"
	proxyPort = 10080
	grace     = 300 * time.Millisecond
	// remembered is small enough that a test can exceed it.
	remembered = 300
)

func TestMain(m *testing.M) { envoytest.Isolate(m) }

// controlled is an Envoy and its control plane.
type controlled struct {
	t        testing.TB
	settings bootstrap.Settings
	leaf     tls.Certificate
	// ca are the CA certificates (PEM) of the control plane.
	ca []byte
	// config is Envoy's start configuration.
	config string
	token  *envoytest.Mount
	envoy  *envoytest.Envoy

	// published is what the control plane has published so far, and would publish again after a restart.
	published map[translator.Name]*translator.Resource
	server    *xds.Server
	grpc      *xds.Endpoint
	served    chan error
	// counters are those of the control plane since it started.
	counters *prometheus.Registry

	mu     sync.Mutex
	tokens map[string]xds.Identity
	proxy  translator.Proxy
	up     bool
	// hear, if set, receives each report.
	hear func(p translator.Proxy, connected bool)
}

// start starts a control plane with the resources and an Envoy.
func start(t testing.TB, resources ...*translator.Resource) *controlled {
	t.Helper()
	envoytest.Binary(t)
	c := &controlled{
		t: t, token: envoytest.NewMount(t), published: map[translator.Name]*translator.Resource{},
		tokens: map[string]xds.Identity{"first": {Subject: "system:serviceaccount:shop:web", Fleets: []string{fleetName}}},
	}
	ca, leaf := certificates(t, "localhost")
	c.ca, c.leaf = ca, leaf
	mount := envoytest.NewMount(t)
	c.settings = bootstrap.Settings{
		XDSHost: "localhost", ConfigDir: mount.Dir,
		TokenFile: filepath.Join(c.token.Dir, "token"),
	}
	c.token.Write(t, map[string]string{"token": "first"})
	c.serve()
	t.Cleanup(func() { c.stop() })
	c.publish(resources...)
	c.server.Synced()

	files, err := bootstrap.Files(c.settings, ca)
	if err != nil {
		t.Fatal(err)
	}
	mount.Write(t, files)
	if c.config, err = bootstrap.JSON(c.settings); err != nil {
		t.Fatal(err)
	}
	c.envoy = envoytest.Start(t, c.config, "--service-cluster", fleetName, "--service-node", podName,
		"--service-zone", ownZone)
	return c
}

// serve starts an empty control plane; the port stays the same.
func (c *controlled) serve() {
	c.t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.settings.XDSPort))
	if err != nil {
		c.t.Fatal(err)
	}
	c.settings.XDSPort = uint32(listener.Addr().(*net.TCPAddr).Port)
	log := logr.Discard()
	if testing.Verbose() {
		log = testr.NewWithInterface(c.t, testr.Options{})
	}
	c.counters = prometheus.NewRegistry()
	c.server = xds.New(xds.Config{
		Authenticate: c.authenticate, Report: c.report, Grace: grace, Remembered: remembered,
		Log: log, Metrics: c.counters, RateLimits: serviceAuthorities,
	})
	c.grpc = c.server.Serve(func() *tls.Certificate { return &c.leaf })
	c.served = make(chan error, 1)
	go func() { c.served <- c.grpc.Serve(listener) }()
}

func (c *controlled) stop() {
	c.grpc.Stop()
	if err := <-c.served; err != nil {
		c.t.Errorf("the control plane ended with: %v", err)
	}
}

// restart replaces the control plane by a new one that publishes the same.
func (c *controlled) restart() {
	c.t.Helper()
	c.stop()
	c.serve()
	all := make([]*translator.Resource, 0, len(c.published))
	for _, r := range c.published {
		all = append(all, r)
	}
	c.server.Publish([]translator.Delta{{Fleet: fleetName, Changed: all}})
	c.server.Synced()
}

func (c *controlled) authenticate(_ context.Context, token string) (xds.Identity, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.tokens[token]
	if !ok {
		return id, errors.New("unknown token")
	}
	return id, nil
}

func (c *controlled) report(p translator.Proxy, connected bool) {
	c.mu.Lock()
	c.proxy, c.up = p, connected
	hear := c.hear
	c.mu.Unlock()
	if hear != nil {
		hear(p, connected)
	}
}

func (c *controlled) reported() (translator.Proxy, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proxy, c.up
}

// reports waits until the function finds no difference in the last report, which is sent some time after the event.
func (c *controlled) reports(differs func(p translator.Proxy, up bool) string) {
	c.t.Helper()
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = differs(c.reported()); last == "" {
			return
		}
	}
	c.t.Errorf("after 20 s, the report is other than wanted: %s", last)
}

func (c *controlled) publish(resources ...*translator.Resource) { c.change(resources, nil) }

func (c *controlled) change(changed []*translator.Resource, removed []translator.Name) {
	for _, r := range changed {
		c.published[translator.Name{Type: r.Type, Name: r.Name}] = r
	}
	for _, n := range removed {
		delete(c.published, n)
	}
	c.server.Publish([]translator.Delta{{Fleet: fleetName, Changed: changed, Removed: removed}})
}

// wantBody waits until the response to a request has the body.
func (c *controlled) wantBody(path, body string) {
	c.t.Helper()
	code, got := 0, ""
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if code, got = envoytest.Get(proxyPort, path); code == http.StatusOK && got == body {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("the proxy answers %d %q for %s, want %q", code, got, path, body)
}

// quiet waits until the proxy has acknowledged everything and nothing warms.
func (c *controlled) quiet() {
	c.t.Helper()
	envoytest.WaitFor(c.t, "the proxy to have everything", func() bool {
		fleets := c.server.Debug()
		return len(fleets) == 1 && len(fleets[0].Proxies) == 1 && idle(fleets[0].Proxies[0]) &&
			c.stat("cluster_manager.warming_clusters") == 0 && c.stat("listener_manager.total_listeners_warming") == 0
	})
}

// idle reports whether a proxy subscribes to everything that a listener with routes needs, and nothing is left to send
// or answer.
func idle(p xds.ProxyState) bool {
	for _, typ := range p.Types {
		if len(typ.Pending)+len(typ.Unanswered)+len(typ.Leaving) > 0 {
			return false
		}
	}
	return !p.Behind && len(p.Types) >= 4
}

// sent is how many resources of each type the control plane has sent, removals included.
func (c *controlled) sent() map[string]int {
	c.t.Helper()
	families, err := c.counters.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "gatehouse_xds_resources_total" {
				counts[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
			}
		}
	}
	return counts
}

// stat returns one of Envoy's statistics, 0 if it does not exist.
func (c *controlled) stat(name string) int {
	c.t.Helper()
	code, body := envoytest.Get(bootstrap.AdminPort, "/stats?format=json&filter=^"+strings.ReplaceAll(name, ".", `\.`)+"$")
	if code != http.StatusOK {
		return -1
	}
	var stats struct{ Stats []struct{ Value int } }
	if err := json.Unmarshal([]byte(body), &stats); err != nil {
		c.t.Fatalf("Envoy's statistics %q: %v", body, err)
	}
	if len(stats.Stats) == 0 {
		return 0
	}
	return stats.Stats[0].Value
}

// backend answers every request with its name. It returns its port.
func backend(t testing.TB, name string) int {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = io.WriteString(w, name)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// made makes a resource from a message in YAML.
func made(m proto.Message, name, text string, needs ...translator.Name) *translator.Resource {
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		panic(err)
	}
	if err := protojson.Unmarshal(asJSON, m); err != nil {
		panic(fmt.Errorf("%s: %w", text, err))
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(body)
	return &translator.Resource{
		Type: url(m), Name: name, Version: hex.EncodeToString(sum[:8]), Pieces: [][]byte{body},
		Needs: needs,
	}
}

func url(m proto.Message) string {
	return "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
}

func clusterName(name string) translator.Name {
	return translator.Name{Type: url(&clusterv3.Cluster{}), Name: name}
}

func endpointName(name string) translator.Name {
	return translator.Name{Type: url(&endpointv3.ClusterLoadAssignment{}), Name: name}
}

func listenerName(name string) translator.Name {
	return translator.Name{Type: url(&listenerv3.Listener{}), Name: name}
}

func secretName(name string) translator.Name {
	return translator.Name{Type: url(&tlsv3.Secret{}), Name: name}
}

const ads = "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}"

// cluster is an EDS cluster; more has additional fields.
func cluster(name, more string, needs ...translator.Name) *translator.Resource {
	return made(&clusterv3.Cluster{}, name, fmt.Sprintf(`
name: %s
type: EDS
eds_cluster_config: {eds_config: %s}
%s`, name, ads, more), append([]translator.Name{endpointName(name)}, needs...)...)
}

func endpoints(name string, ports ...int) *translator.Resource {
	text := fmt.Sprintf("cluster_name: %s\nendpoints:\n- lb_endpoints:\n", name)
	for _, port := range ports {
		text += fmt.Sprintf("  - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}\n", port)
	}
	return made(&endpointv3.ClusterLoadAssignment{}, name, text)
}

// web is the name of the RouteConfiguration of all tests.
const web = "web"

var routesName = translator.Name{Type: url(&routev3.RouteConfiguration{}), Name: web}

// routes sends each path prefix to a cluster: pairs of both.
func routes(pairs ...string) *translator.Resource {
	text := fmt.Sprintf("name: %s\nvirtual_hosts:\n- name: all\n  domains: ['*']\n  routes:\n", web)
	var needs []translator.Name
	for i := 0; i < len(pairs); i += 2 {
		text += fmt.Sprintf("  - {match: {prefix: %s}, route: {cluster: %s}}\n", pairs[i], pairs[i+1])
		needs = append(needs, clusterName(pairs[i+1]))
	}
	return made(&routev3.RouteConfiguration{}, web, text, needs...)
}

// listener serves the routes on a port; more has additional fields of the filter chain.
func listener(name string, port int, more string, needs ...translator.Name) *translator.Resource {
	return made(&listenerv3.Listener{}, name, fmt.Sprintf(`
name: %s
address: {socket_address: {address: 127.0.0.1, port_value: %d}}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: %s
      rds: {route_config_name: %s, config_source: %s}
      http_filters:
      - name: envoy.filters.http.router
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  %s`, name, port, name, web, ads, more), append([]translator.Name{routesName}, needs...)...)
}

// certificates makes a CA (PEM) and a certificate signed by it for a name.
func certificates(t testing.TB, name string) (ca []byte, leaf tls.Certificate) {
	t.Helper()
	caKey, caDER := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	parent, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	key, der := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, parent, caKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func sign(t testing.TB, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, by = template, key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// secretOf is a certificate with its key as a secret.
func secretOf(t *testing.T, name string, c tls.Certificate) *translator.Resource {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(map[string]any{"name": name, "tls_certificate": map[string]any{
		"certificate_chain": map[string]any{"inline_bytes": pem.EncodeToMemory(&pem.Block{
			Type:  "CERTIFICATE",
			Bytes: c.Certificate[0],
		})},
		"private_key": map[string]any{"inline_bytes": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return made(&tlsv3.Secret{}, name, string(content))
}
