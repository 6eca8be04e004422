package withenvoy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/config"
	"gatehouse/api/v1alpha1"
	"gatehouse/infra"
	"gatehouse/infra/envoytest"
	"gatehouse/policies/feature"
	"gatehouse/translator"
)

// limitsHost is the name of the rate limit service in these tests.
const limitsHost = "localhost"

// authorities are the CAs of the certificate with which the rate limit service asks for its limits.
var authorities struct {
	sync.Mutex
	pool *x509.CertPool
}

func serviceAuthorities() *x509.CertPool {
	authorities.Lock()
	defer authorities.Unlock()
	if authorities.pool == nil {
		return x509.NewCertPool()
	}
	return authorities.pool
}

// limited is an Envoy whose requests a real rate limit service counts in a real Redis.
type limited struct {
	*translated
	redis   *redis
	service *exec.Cmd
}

// redis is a running Redis.
type redis struct {
	t    *testing.T
	port int
	cmd  *exec.Cmd
}

func startRedis(t *testing.T) *redis {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skipf("there is no Redis: install it (Debian: apt-get install redis-server): %v", err)
	}
	r := &redis{t: t, port: refusing(t)}
	r.start(binary)
	return r
}

func (r *redis) start(binary string) {
	r.t.Helper()
	r.cmd = run(r.t, nil, binary, "--port", fmt.Sprint(r.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	envoytest.WaitFor(r.t, "Redis", func() bool { return r.tell("PING") == "+PONG" })
}

// tell sends a command and returns the first line of the answer.
func (r *redis) tell(words ...string) string {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", r.port), time.Second)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	command := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		command += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(conn, command); err != nil {
		return err.Error()
	}
	answer := make([]byte, 256)
	n, err := conn.Read(answer)
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(answer[:n]), "\r\n")
	return line
}

func (r *redis) want(answer string, words ...string) {
	r.t.Helper()
	if got := r.tell(words...); got != answer {
		r.t.Fatalf("Redis answers %q to %q, want %q", got, words, answer)
	}
}

// run runs a program until the test ends. A failed test prints what it said.
func run(t *testing.T, env []string, binary string, args ...string) *exec.Cmd {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			if said, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("%s said:\n%s", filepath.Base(binary), said[max(0, len(said)-20000):])
			}
		}
	})
	return cmd
}

// limitsSettings is the configuration of the control plane.
func limitsSettings(port int, failClosed bool) *translator.RateLimits {
	return &translator.RateLimits{
		Host: limitsHost, Port: int32(port), TLS: &v1alpha1.BackendTLSSettings{SNI: new(gwapiv1.PreciseHostname(limitsHost))},
		Timeout: 500 * time.Millisecond, FailClosed: failClosed, // The machine of a test may be slow.
	}
}

// startLimited starts Redis, the rate limit service, and an Envoy with routes.
func startLimited(t *testing.T, failClosed bool, routes ...translator.Object) *limited {
	t.Helper()
	binary, err := filepath.Abs("../../bin/ratelimit")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Skipf("there is no rate limit service: make bin/ratelimit: %v", err)
	}
	l := &limited{redis: startRedis(t)}
	serviceCA, service := certificates(t, limitsHost)
	clientName := translator.RateLimitClients + ".shop.svc"
	clientsCA, client := certificates(t, clientName)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(serviceCA)
	authorities.Lock()
	authorities.pool = pool
	authorities.Unlock()

	port := refusing(t)
	objects := append(routes, kept("ca.crt", serviceCA, translator.RateLimitService, service),
		kept("ca.crt", clientsCA, translator.RateLimitClients, client))
	settings := translator.Settings{Namespace: "shop", RateLimits: limitsSettings(port, failClosed)}
	l.translated = startWith(t, settings, false, objects...)
	l.serveLimits(binary, port, serviceCA, service, clientsCA)
	l.serves(proxyPort, "a.example.com")
	return l
}

// kept is a Secret with a certificate and a CA.
func kept(key string, ca []byte, name string, c tls.Certificate) *corev1.Secret {
	chain, private := encoded(c)
	s := &corev1.Secret{Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		key: ca, corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: private,
	}}
	s.Namespace, s.Name = "shop", name
	return s
}

func encoded(c tls.Certificate) (chain, key []byte) {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// serveLimits runs the service as infra does, with files and ports of the test.
func (l *limited) serveLimits(binary string, port int, ca []byte, own tls.Certificate, clientsCA []byte) {
	l.t.Helper()
	dir := l.t.(*testing.T).TempDir()
	chain, key := encoded(own)
	for file, content := range map[string][]byte{
		"tls.crt": chain, "tls.key": key, "clients.crt": clientsCA, "xds.crt": l.ca,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			l.t.Fatal(err)
		}
	}
	var env []string
	for _, e := range infra.RateLimitEnv(infra.RateLimitSettings{
		Namespace: "shop", XDSHost: "localhost", XDSPort: l.settings.XDSPort,
		Config: &config.RateLimit{
			Backend:   config.RateLimitBackend{Redis: config.RateLimitRedis{URL: fmt.Sprintf("127.0.0.1:%d", l.redis.port)}},
			Telemetry: config.RateLimitTelemetry{Metrics: config.RateLimitMetrics{Prometheus: config.RateLimitPrometheus{Disable: true}}},
		},
	}) {
		env = append(env, e.Name+"="+strings.ReplaceAll(e.Value, "/etc/gatehouse/certs", dir))
	}
	health := refusing(l.t.(*testing.T))
	env = append(env, "DISABLE_STATS=true", fmt.Sprintf("GRPC_PORT=%d", port), fmt.Sprintf("PORT=%d", health),
		fmt.Sprintf("DEBUG_PORT=%d", refusing(l.t.(*testing.T))))
	l.service = run(l.t.(*testing.T), env, binary)
	envoytest.WaitFor(l.t, "the rate limit service", func() bool {
		code, _ := envoytest.Get(health, "/healthcheck")
		return code == http.StatusOK
	})
}

// publishAll sends all changes of the objects to Envoys and to the service.
func (l *limited) publishAll(objects ...translator.Object) {
	l.t.Helper()
	for _, d := range l.translate(l.t, objects...) {
		if d.Fleet == fleetName {
			for i, r := range d.Changed {
				d.Changed[i] = l.resolved(r)
			}
			l.change(d.Changed, d.Removed)
		} else {
			l.server.Publish([]translator.Delta{d})
		}
	}
}

// resolved has the cluster of the service name the address of its host, because tests have no DNS.
func (l *limited) resolved(r *translator.Resource) *translator.Resource {
	l.t.Helper()
	if !strings.HasPrefix(r.Name, "ratelimit/") || r.Type != url(&clusterv3.Cluster{}) {
		return r
	}
	c := &clusterv3.Cluster{}
	if err := proto.Unmarshal(r.Body(), c); err != nil {
		l.t.Fatal(err)
	}
	c.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress().Address = "127.0.0.1"
	changed := *r
	changed.Version, changed.Pieces = r.Version+"-resolved", [][]byte{feature.Encode(c)}
	return &changed
}

// limit is a policy on the route of a host, from its rateLimit.
func (l *limited) limit(host, text string) *v1alpha1.BackendTrafficPolicy {
	l.t.Helper()
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: l.meta(host), Spec: v1alpha1.BackendTrafficPolicySpec{RateLimit: &v1alpha1.RateLimitSpec{}}}
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
		Group: gwapiv1.GroupName, Kind: "HTTPRoute", Name: gwapiv1.ObjectName(host),
	}}}
	if err := yaml.UnmarshalStrict([]byte(text), p.Spec.RateLimit); err != nil {
		l.t.Fatal(err)
	}
	return p
}

// sent is a request for a host: method, path and headers.
type sent struct {
	method, path string
	headers      []string
}

// send sends a request and returns the response, whose body is closed.
func (l *limited) send(host string, r sent) *http.Response {
	l.t.Helper()
	method, path := r.method, r.path
	if method == "" {
		method = http.MethodGet
	}
	if path == "" {
		path = "/"
	}
	request, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", proxyPort, path), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	request.Host = host
	for i := 0; i+1 < len(r.headers); i += 2 {
		request.Header.Set(r.headers[i], r.headers[i+1])
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response
}

// codes sends a request several times and returns the statuses.
func (l *limited) codes(host string, times int, r sent) string {
	l.t.Helper()
	var codes []string
	for range times {
		codes = append(codes, fmt.Sprint(l.send(host, r).StatusCode))
	}
	return strings.Join(codes, " ")
}

// counts waits until the service counts the requests of a host, which a request with the header shows.
func (l *limited) counts(host string, probe sent) {
	l.t.Helper()
	envoytest.WaitFor(l.t, "limits of "+host, func() bool {
		return l.send(host, probe).StatusCode == http.StatusTooManyRequests
	})
}
