package withenvoy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/infra/shutdown"
	"gatehouse/translator"
)

// quicClient sends requests over HTTP/3 from an address of this host, each over a connection of its own.
type quicClient struct {
	t    *testing.T
	from string
}

// ask returns the status of the response for a host, and the certificate of the listener, or what went wrong.
func (q quicClient) ask(port int, host string) (string, *x509.Certificate) {
	q.t.Helper()
	transport, done := q.transport(host)
	defer done()
	return q.over(transport, port, host)
}

// transport opens connections for the host.
func (q quicClient) transport(host string) (*http3.Transport, func()) {
	q.t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(q.from)})
	if err != nil {
		q.t.Fatal(err)
	}
	from := &quic.Transport{Conn: socket}
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true},
		QUICConfig:      &quic.Config{HandshakeIdleTimeout: time.Second},
		Dial: func(ctx context.Context, to string, secure *tls.Config, config *quic.Config) (*quic.Conn, error) {
			address, err := net.ResolveUDPAddr("udp4", to)
			if err != nil {
				return nil, err
			}
			return from.Dial(ctx, address, secure, config)
		},
	}
	return transport, func() {
		_, _, _ = transport.Close(), from.Close(), socket.Close()
	}
}

func (q quicClient) over(transport http.RoundTripper, port int, host string) (string, *x509.Certificate) {
	q.t.Helper()
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/", port), nil)
	if err != nil {
		q.t.Fatal(err)
	}
	request.Host = host
	response, err := (&http.Client{Timeout: 5 * time.Second, Transport: transport}).Do(request)
	if err != nil {
		return err.Error(), nil
	}
	defer func() { _ = response.Body.Close() }()
	if response.Proto != "HTTP/3.0" {
		q.t.Errorf("the answer came by %s", response.Proto)
	}
	return fmt.Sprint(response.StatusCode), response.TLS.PeerCertificates[0]
}

// answers waits until a request for a host gets a status.
func (q quicClient) answers(port int, host, want string) (certificate *x509.Certificate) {
	q.t.Helper()
	got := ""
	envoytest.WaitFor(q.t, fmt.Sprintf("%s to get %s over HTTP/3", q.from, want), func() bool {
		got, certificate = q.ask(port, host)
		return got == want
	})
	return certificate
}

// silent waits until a listener does not answer over QUIC any more.
func (q quicClient) silent(port int, host string) {
	q.t.Helper()
	envoytest.WaitFor(q.t, "no answer over HTTP/3", func() bool {
		got, _ := q.ask(port, host)
		return strings.HasPrefix(got, "Get ")
	})
}

// secureClient sends requests over one connection of HTTP/2.
type secureClient struct {
	t         *testing.T
	transport *http.Transport
	opened    int
}

func newSecureClient(t *testing.T, host string) *secureClient {
	c := &secureClient{t: t, transport: &http.Transport{
		TLSClientConfig:   &tls.Config{ServerName: host, InsecureSkipVerify: true},
		ForceAttemptHTTP2: true,
	}}
	t.Cleanup(c.transport.CloseIdleConnections)
	return c
}

// offered returns the status and the header alt-svc of a response.
func (c *secureClient) offered(port int, host string) string {
	c.t.Helper()
	ctx := httptrace.WithClientTrace(c.t.Context(), &httptrace.ClientTrace{GotConn: func(g httptrace.GotConnInfo) {
		if !g.Reused {
			c.opened++
		}
	}})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/", port), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Host = host
	response, err := (&http.Client{Timeout: 5 * time.Second, Transport: c.transport}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	return strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", response.Header.Get("Alt-Svc")))
}

// http3 is a policy on a Gateway, or on one of its listeners.
func (c *translated) http3(listener *gwapiv1.SectionName, settings *v1alpha1.HTTP3Settings,
) *v1alpha1.ClientTrafficPolicy {
	p := c.clients(v1alpha1.ClientTrafficPolicySpec{HTTP3: settings})
	p.Spec.TargetRefs[0].SectionName = listener
	if listener != nil {
		p.Name += "-" + string(*listener)
	}
	return p
}

// TestHTTP3 serves a listener over QUIC while its policy comes, changes and goes. Nothing happens to a connection over
// TCP meanwhile.
func TestHTTP3(t *testing.T) {
	for name, scoped := range map[string]bool{"route configuration": false, "scoped": true} {
		t.Run(name, func(t *testing.T) { testHTTP3(t, scoped) })
	}
}

func testHTTP3(t *testing.T, scoped bool) {
	const shop, admin = "shop.example.com", "admin.example.com"
	c := startTranslated(t, scoped)
	ca := newAuthority(t)
	g := c.httpsGateway(gwapiv1.Listener{Name: "shop", Port: 443, Hostname: new(gwapiv1.Hostname(shop))},
		gwapiv1.Listener{Name: "admin", Port: 443, Hostname: new(gwapiv1.Hostname(admin))})
	g.Annotations = c.gateway(scoped).Annotations
	c.apply(g, c.secret("server", ca.issue(shop, admin)), c.route(shop, new(gwapiv1.SectionName("shop"))),
		c.route(admin, new(gwapiv1.SectionName("admin"))))
	tcp, near, far := newSecureClient(t, shop), quicClient{t, "127.0.0.1"}, quicClient{t, "127.0.0.2"}
	offers := func(want string) {
		t.Helper()
		got := ""
		envoytest.WaitFor(t, "the answer over TCP: "+want, func() bool {
			got = tcp.offered(10443, shop)
			return got == want
		})
	}
	offers("200")
	tcp.opened = 0 // Before, requests may have failed.
	near.silent(10443, shop)

	c.apply(c.http3(nil, &v1alpha1.HTTP3Settings{}))
	first := near.answers(10443, shop, "200")
	near.answers(10443, admin, "200")
	offers(`200 h3=":443"; ma=86400`)

	c.apply(c.secret("server", ca.issue(shop, admin, "renewed.example.com")))
	envoytest.WaitFor(t, "the renewed certificate", func() bool { return !near.answers(10443, shop, "200").Equal(first) })

	c.apply(c.http3(new(gwapiv1.SectionName("admin")), nil))
	near.silent(10443, admin)
	near.answers(10443, shop, "200")

	c.apply(c.authorized("127.0.0.2"))
	near.answers(10443, shop, "403")
	far.answers(10443, shop, "200")
	c.apply(c.authorized("nowhere")) // A broken policy.
	near.answers(10443, shop, "500")
	far.answers(10443, shop, "500")
	c.delete(c.authorized("nowhere"))
	near.answers(10443, shop, "200")

	c.delete(c.http3(nil, nil))
	near.silent(10443, shop)
	offers("200")
	if tcp.opened > 0 {
		t.Errorf("the connection over TCP was replaced %d times", tcp.opened)
	}
}

// authorized is a policy on the Gateway that lets clients of one address in.
func (c *translated) authorized(address string) *v1alpha1.SecurityPolicy {
	p := &v1alpha1.SecurityPolicy{ObjectMeta: c.meta("clients")}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Group, target.Kind, target.Name = gwapiv1.GroupName, "Gateway", "web"
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	deny := v1alpha1.AuthorizationActionDeny
	p.Spec.Authorization = &v1alpha1.Authorization{
		DefaultAction: &deny,
		Rules: []v1alpha1.AuthorizationRule{{
			Action:    v1alpha1.AuthorizationActionAllow,
			Principal: &v1alpha1.Principal{ClientCIDRs: []v1alpha1.CIDR{v1alpha1.CIDR(address + "/32")}},
		}},
	}
	return p
}

// TestClientsWithCertificatesGetNoHTTP3: a listener that requests certificates of its clients is not served over QUIC,
// whatever its policy says.
func TestClientsWithCertificatesGetNoHTTP3(t *testing.T) {
	const host = "www.example.com"
	c := startTranslated(t, false)
	ca := newAuthority(t)
	g := c.httpsGateway(gwapiv1.Listener{Name: "open", Port: 443}, gwapiv1.Listener{Name: "strict", Port: 8443})
	g.Spec.TLS = &gwapiv1.GatewayTLSConfig{Frontend: &gwapiv1.FrontendTLSConfig{
		PerPort: []gwapiv1.TLSPortConfig{{Port: 8443, TLS: gwapiv1.TLSConfig{
			Validation: &gwapiv1.FrontendTLSValidation{CACertificateRefs: []gwapiv1.ObjectReference{{Kind: "ConfigMap", Name: "ca"}}},
		}}},
	}}
	c.apply(g, c.secret("server", ca.issue(host)), c.authorities("ca", ca.pem()), c.route(host, nil),
		c.http3(nil, &v1alpha1.HTTP3Settings{}))
	client := quicClient{t, "127.0.0.1"}
	client.answers(10443, host, "200")
	if got, _ := client.ask(8443, host); !strings.HasPrefix(got, "Get ") {
		t.Errorf("without a certificate, a client gets %s over HTTP/3", got)
	}
	if got := askTLS(t, 8443, host, host, ca.issue("client")); got != "200" {
		t.Errorf("with a certificate, a client gets %s over TCP", got)
	}
}

// TestCertificateOnlyForTCP: Envoy has no Ed25519 keys for QUIC. A listener that gets such a certificate, at first or
// later, has it over TCP, and loses HTTP/3.
func TestCertificateOnlyForTCP(t *testing.T) {
	const host = "www.example.com"
	c, ca := startTranslated(t, false), newAuthority(t)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.apply(c.httpsGateway(gwapiv1.Listener{Name: "web", Port: 443}), c.secret("server", ca.issue(host)), c.route(host, nil),
		c.http3(nil, &v1alpha1.HTTP3Settings{}))
	client := quicClient{t, "127.0.0.1"}
	client.answers(10443, host, "200")
	renewed := ca.issueFor(edwards, host, time.Now().Add(time.Hour))
	c.apply(c.secret("server", renewed))
	c.reports(func(p translator.Proxy, _ bool) string {
		if len(p.Guilty) != 1 || p.Rejected[secretName("quic/shop/server")] == "" {
			return fmt.Sprintf("Envoy rejected %v", p.Rejected)
		}
		outcome, err := c.world.Apply([]translator.Event{{Proxy: &p}})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range outcome.Deltas {
			c.change(d.Changed, d.Removed)
		}
		return ""
	})
	client.silent(10443, host)
	tcp := newSecureClient(t, host)
	envoytest.WaitFor(t, "an answer without an offer", func() bool { return tcp.offered(10443, host) == "200" })
	state, err := handshake(10443, host)
	if err != nil || !bytes.Equal(state.PeerCertificates[0].Raw, renewed.Certificate[0]) {
		t.Errorf("over TCP the certificate is not renewed: %v", err)
	}
}

// TestShutdownWaitsForHTTP3: the hook of a pod that ends waits for connections over QUIC too, which are served meanwhile
// and told to go.
func TestShutdownWaitsForHTTP3(t *testing.T) {
	const host = "www.example.com"
	c := startTranslated(t, false)
	c.apply(c.httpsGateway(gwapiv1.Listener{Name: "web", Port: 443}), c.secret("server", newAuthority(t).issue(host)),
		c.route(host, nil), c.http3(nil, &v1alpha1.HTTP3Settings{}))
	client := quicClient{t, "127.0.0.1"}
	client.answers(10443, host, "200")
	transport, done := client.transport(host)
	defer done()
	if got, _ := client.over(transport, 10443, host); got != "200" {
		t.Fatalf("the connection answers %s", got)
	}
	var log lockedBuffer
	drained := make(chan error, 1)
	go func() {
		drained <- shutdown.Drain(t.Context(), shutdown.Options{
			DrainTimeout: time.Minute, ReadyFile: filepath.Join(t.TempDir(), "ready"), Admin: shutdown.DefaultAdmin,
			Poll: 10 * time.Millisecond,
		}, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	envoytest.WaitFor(t, "the hook to wait for a connection", func() bool {
		return strings.Contains(log.String(), "connections=1")
	})
	if got, _ := client.over(transport, 10443, host); got != "200" {
		t.Errorf("while Envoy drains, the connection answers %s", got)
	}
	if err := <-drained; err != nil || !strings.Contains(log.String(), "Envoy is drained") {
		t.Errorf("the hook ended with %v: %s", err, log.String())
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}
