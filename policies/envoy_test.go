package policies

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// envoyBinary is Envoy as the repository's Makefile installs it. Without it, tests that need it are skipped.
func envoyBinary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../bin/envoy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no Envoy to test with: %v", err)
	}
	return path
}

// bootstrap is one Envoy with every golden that is not denied: a host name and a cluster for each, such as cors-any.
// The host name plain has no policy. All of them share the connection manager, with the filters disabled. Each policy
// of listeners also has a listener of its own.
func bootstrap(t *testing.T, backends ...*corev3.Address) []byte {
	t.Helper()
	plain := golden{path: "plain.txtar", kind: Kinds[0]}
	config := &bootstrapv3.Bootstrap{
		Admin:           &bootstrapv3.Admin{Address: loopback(0)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
		// As in the start configuration of a fleet.
		LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
			Name: "features", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{
				Fields: map[string]*structpb.Value{
					"envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value": structpb.NewBoolValue(true),
				},
			}},
		}}},
	}
	routes := &routev3.RouteConfiguration{Name: "routes"}
	for _, g := range append(goldens(t), plain) {
		if g.policy != nil && !g.served() {
			continue
		}
		name := strings.ReplaceAll(strings.TrimSuffix(g.path, ".txtar"), "/", "-")
		config.StaticResources.Clusters = append(config.StaticResources.Clusters, g.buildCluster(name, backends...))
		routes.VirtualHosts = append(routes.VirtualHosts, &routev3.VirtualHost{
			Name: name, Domains: []string{name}, Routes: []*routev3.Route{g.buildRoute(name)},
		})
	}
	config.StaticResources.Listeners = []*listenerv3.Listener{plain.buildListener("test", routes)}
	for _, g := range goldens(t) {
		if g.kind.ShapesListeners() && g.served() {
			config.StaticResources.Listeners = append(config.StaticResources.Listeners, g.buildListener(g.path, routes))
		}
	}
	encoded, err := protojson.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func loopback(port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// TestEnvoyAcceptsGoldens sends everything that the goldens promise to Envoy.
func TestEnvoyAcceptsGoldens(t *testing.T) {
	envoy := envoyBinary(t)
	config := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(config, bootstrap(t, loopback(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "-l", "error", "-c", config).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// client sends a request through Envoy, with alternating names and values of headers.
type client func(t *testing.T, method, host, path string, headers ...string) *http.Response

// TestTraffic sends requests through Envoy to the hosts of the goldens.
func TestTraffic(t *testing.T) {
	envoy := envoyBinary(t)
	one, two := newBackend(t, "one"), newBackend(t, "two")
	send := startEnvoy(t, envoy, bootstrap(t, one.address(t), two.address(t)))
	t.Run("authorization", send.testAuthorization)
	t.Run("cors", send.testCORS)
	t.Run("retry", send.testRetry)
	t.Run("timeout", send.testTimeout)
	t.Run("hash", send.testHash)
	t.Run("rate limit", send.testRateLimit)
}

func (send client) testAuthorization(t *testing.T) {
	for _, tc := range []struct {
		host, client string
		want         int
	}{
		{"plain", "10.0.66.3", 200},
		{"authorization-deny_all", "10.1.2.3", 403},
		{"authorization-first_match", "10.0.66.3", 403},
		{"authorization-first_match", "10.1.2.3", 200},
		{"authorization-first_match", "2001:db8::1", 200},
		{"authorization-first_match", "192.0.2.1", 403},
		{"authorization-default_allow", "192.0.2.1", 403},
		{"authorization-default_allow", "192.0.3.1", 200},
	} {
		if got := send(t, http.MethodGet, tc.host, "/", "X-Forwarded-For", tc.client).StatusCode; got != tc.want {
			t.Errorf("%s, client %s: got %d, want %d", tc.host, tc.client, got, tc.want)
		}
	}
}

func (send client) testCORS(t *testing.T) {
	for _, tc := range []struct {
		host, origin string
		allowed      bool
	}{
		{"cors-cors", "https://shop.example.com", true},
		{"cors-cors", "https://a.b.example.org:8443", true},
		{"cors-cors", "http://localhost:3000", true},
		{"cors-cors", "https://a.b.example.org", false},
		{"cors-cors", "https://shop.example.com.evil.test", false},
		{"cors-cors", "https://evil.test", false},
		{"cors-any", "https://evil.test", true},
	} {
		response := send(t, http.MethodOptions, tc.host, "/", "Origin", tc.origin, "Access-Control-Request-Method", "PUT")
		want := ""
		if tc.allowed {
			want = tc.origin
		}
		if got := response.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s, origin %s: allowed is %q, want %q", tc.host, tc.origin, got, want)
		}
		if got := response.Header.Get("Vary"); got != "Origin" {
			t.Errorf("%s, origin %s: Vary is %q, want Origin", tc.host, tc.origin, got)
		}
		if response.Header.Get("Backend") != "" {
			t.Errorf("%s, origin %s: the preflight request went to the backend", tc.host, tc.origin)
		}
	}
	response := send(t, http.MethodOptions, "cors-cors", "/", "Origin", "https://shop.example.com",
		"Access-Control-Request-Method", "PUT")
	for name, want := range map[string]string{
		"Methods": "GET,PUT", "Headers": "x-tenant,content-type",
		"Credentials": "true",
	} {
		if got := response.Header.Get("Access-Control-Allow-" + name); got != want {
			t.Errorf("allowed %s: got %q, want %q", name, got, want)
		}
	}
	if got := send(t, http.MethodGet, "plain", "/", "Origin",
		"https://shop.example.com").Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("without a policy, origin %q is allowed", got)
	}
}

func (send client) testRetry(t *testing.T) {
	if got := send(t, http.MethodGet, "plain", "/flaky").StatusCode; got != http.StatusServiceUnavailable {
		t.Errorf("without retry: got %d, want 503", got)
	}
	if got := send(t, http.MethodGet, "retry-default", "/flaky").StatusCode; got != http.StatusOK {
		t.Errorf("with retry: got %d, want 200", got)
	}
}

func (send client) testTimeout(t *testing.T) {
	for host, want := range map[string][]int{
		"timeout-request":             {http.StatusGatewayTimeout},
		"timeout-request_with_stream": {http.StatusGatewayTimeout},
		"timeout-stream_with_request": {http.StatusGatewayTimeout},
		// Whether the listener's or the cluster's clock is first is up to chance.
		"timeout-stream": {http.StatusGatewayTimeout, http.StatusRequestTimeout},
	} {
		start := time.Now()
		if got := send(t, http.MethodGet, host, "/slow").StatusCode; !slices.Contains(want, got) ||
			time.Since(start) > slowness/2 {
			t.Errorf("%s: slow backend: got %d after %s, want one of %v in time", host, got, time.Since(start), want)
		}
	}
}

func (send client) testHash(t *testing.T) {
	all := map[string]bool{}
	for user := range 16 {
		own := map[string]bool{}
		for range 4 {
			own[send(t, http.MethodGet, "loadbalancer-hash_header", "/", "X-User",
				strconv.Itoa(user)).Header.Get("Backend")] = true
		}
		if len(own) != 1 {
			t.Errorf("user %d was served by %v, want one backend", user, own)
		}
		maps.Copy(all, own)
	}
	if len(all) != 2 {
		t.Errorf("all users were served by %v, want both backends", all)
	}
}

// backend answers with its name. On /flaky, all backends together answer each fourth request with 200 and the others
// with 503; on /slow it takes longer than any timeout under test.
type backend struct{ *httptest.Server }

func newBackend(t *testing.T, name string) backend {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Backend", name)
		switch r.URL.Path {
		case "/flaky":
			if attempts.Add(1)%4 != 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		case "/slow":
			select {
			case <-r.Context().Done():
			case <-time.After(slowness):
			}
		}
	}))
	t.Cleanup(server.Close)
	return backend{server}
}

// attempts counts the requests to /flaky.
var attempts atomic.Int32

// slowness is how long /slow takes.
const slowness = 5 * time.Second

func (b backend) address(t *testing.T) *corev3.Address {
	t.Helper()
	return loopback(uint32(b.Listener.Addr().(*net.TCPAddr).Port))
}

// startEnvoy runs Envoy until the test ends.
func startEnvoy(t *testing.T, envoy string, config []byte) client {
	t.Helper()
	dir := t.TempDir()
	file, admin := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	process := exec.CommandContext(t.Context(), envoy, "-c", file, "-l", "error", "--concurrency", "1",
		"--disable-hot-restart", "--admin-address-path", admin)
	process.Stdout, process.Stderr = &log, &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	address := listenerAddress(t, admin)
	return func(t *testing.T, method, host, path string, headers ...string) *http.Response {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		for i := 0; i < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response
	}
}

// listenerAddress waits for Envoy's listener and returns its address. The file at path has Envoy's admin address.
func listenerAddress(t *testing.T, path string) string {
	t.Helper()
	var last error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		admin, err := os.ReadFile(path)
		if err != nil {
			last = err
			continue
		}
		address, err := askListener(string(admin))
		if err == nil { // Envoy tells of its listeners before they take connections.
			var conn net.Conn
			if conn, err = net.Dial("tcp", address); err == nil {
				_ = conn.Close()
				return address
			}
		}
		last = err
	}
	t.Fatalf("Envoy did not come up: %v", last)
	return ""
}

func askListener(admin string) (string, error) {
	response, err := http.Get("http://" + admin + "/listeners?format=json")
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var listeners struct {
		Statuses []struct {
			Name    string
			Address struct {
				Socket struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.NewDecoder(response.Body).Decode(&listeners); err != nil {
		return "", err
	}
	for _, l := range listeners.Statuses {
		if l.Name == "test" {
			return fmt.Sprintf("127.0.0.1:%d", l.Address.Socket.Port), nil
		}
	}
	return "", fmt.Errorf("%d listeners, and none with the name test", len(listeners.Statuses))
}
