package bootstrap

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gatehouse/infra/envoytest"
)

func TestMain(m *testing.M) { envoytest.Isolate(m) }

func TestEnvoyAcceptsTheBootstrap(t *testing.T) {
	envoy := envoytest.Binary(t)
	for name, limit := range map[string]string{"no memory limit": MemoryLimit, "1 GiB": "1073741824"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, "gatehouse.gatehouse-system.svc.cluster.local", 18000)
			cmd := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "--config-yaml",
				strings.ReplaceAll(f.bootstrap(t), MemoryLimit, limit),
				"--service-cluster", "shop/web", "--service-node", "web-1", "--use-dynamic-base-id")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("Envoy refuses the bootstrap: %v\n%s", err, out)
			}
			for _, word := range []string{"deprecated", "unknown field"} {
				if strings.Contains(strings.ToLower(string(out)), word) {
					t.Errorf("Envoy speaks of %q:\n%s", word, out)
				}
			}
		})
	}
}

func TestEnvoyIsReadyOnlyWithItsConfigurationAndWhileItDoesNotDrain(t *testing.T) {
	f := newFleet(t, "localhost", 0)
	f.start(t)
	f.server.next(t)
	if code, body := envoytest.Get(ReadyPort, ReadyPath); code == http.StatusOK {
		t.Errorf("%s answers %d %q without a configuration", ReadyPath, code, body)
	}
	close(f.server.answer)
	f.waitReady(t)

	for _, c := range []struct {
		port int
		path string
		code int
	}{
		{ReadyPort, LivePath, http.StatusOK},
		{MetricsPort, MetricsPath, http.StatusOK},
		{MetricsPort, "/config_dump", http.StatusNotFound},
		{ReadyPort, "/quitquitquit", http.StatusNotFound},
	} {
		if code, body := envoytest.Get(c.port, c.path); code != c.code {
			t.Errorf("port %d answers %d %q for %s, want %d", c.port, code, body, c.path, c.code)
		}
	}

	response, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/healthcheck/fail", AdminPort), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if code, body := envoytest.Get(ReadyPort, ReadyPath); code != http.StatusServiceUnavailable {
		t.Errorf("%s answers %d %q while Envoy drains, want 503", ReadyPath, code, body)
	}
	if code, _ := envoytest.Get(ReadyPort, LivePath); code != http.StatusOK {
		t.Errorf("%s answers %d while Envoy drains, want 200: a draining Envoy is not to be killed", LivePath, code)
	}
}

func TestEnvoyProvesWhoItIsAndFollowsRotation(t *testing.T) {
	f := newFleet(t, "localhost", 0)
	f.start(t)
	close(f.server.answer)
	opened := f.server.next(t)
	if got, want := opened.node.GetCluster()+" "+opened.node.GetId(), "shop/web web-1"; got != want {
		t.Errorf("node is %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(opened.authorization), "[Bearer first]"; got != want {
		t.Errorf("authorization is %s, want %s", got, want)
	}
	f.waitReady(t)

	f.token.Write(t, map[string]string{"token": "second"})
	for tries := 0; fmt.Sprint(opened.authorization) != "[Bearer second]"; tries++ {
		if tries == 20 {
			t.Fatalf("authorization is still %s long after the token was replaced", opened.authorization)
		}
		time.Sleep(100 * time.Millisecond)
		close(opened.end)
		opened = f.server.next(t)
	}

	second := newAuthority(t, "localhost")
	f.changeCA(t, second, "2")
	opened = f.server.next(t)
	if got, want := fmt.Sprint(opened.authorization), "[Bearer second]"; got != want {
		t.Errorf("authorization under the new CA is %s, want %s", got, want)
	}

	third := newAuthority(t, "localhost")
	second.vouchFor(t, &third)
	f.server.leaf.Store(&third.leaf)
	f.server.restart(t)
	f.server.next(t) // It still knows only the second CA, which signs the third.

	f.changeCA(t, newAuthority(t, "somebody.else"), "3")
	select {
	case <-f.server.streams:
		t.Error("Envoy sent its token to a server with another name")
	case <-time.After(2 * time.Second):
	}
}

// changeCA replaces the mounted CA, waits until Envoy has loaded it (the number of loads so far is given), and restarts
// the control plane with a certificate of that CA.
func (f *fleet) changeCA(t *testing.T, a authority, loaded string) {
	t.Helper()
	f.config.Write(t, f.files(t, a.pem))
	envoytest.WaitFor(t, "Envoy to load the new CA", func() bool {
		_, body := envoytest.Get(AdminPort, "/stats?filter=ssl_context_update_by_sds")
		return strings.Contains(body, "ssl_context_update_by_sds: "+loaded)
	})
	f.server.leaf.Store(&a.leaf)
	f.server.restart(t)
}

// fleet is the environment of one Envoy: the mounted files, and a control plane.
type fleet struct {
	settings      Settings
	token, config *envoytest.Mount
	server        *controlPlane
}

// newFleet mounts a token "first". Port 0 starts a control plane at host.
func newFleet(t *testing.T, host string, port uint32) *fleet {
	t.Helper()
	f := &fleet{token: envoytest.NewMount(t), config: envoytest.NewMount(t)}
	a := newAuthority(t, host)
	if port == 0 {
		f.server = newControlPlane(t, a.leaf)
		port = f.server.port
	}
	f.settings = Settings{
		XDSHost: host, XDSPort: port, ConfigDir: f.config.Dir, TokenFile: filepath.Join(f.token.Dir, "token"),
	}
	f.token.Write(t, map[string]string{"token": "first"})
	f.config.Write(t, f.files(t, a.pem))
	return f
}

func (f *fleet) files(t *testing.T, ca []byte) map[string]string {
	t.Helper()
	files, err := Files(f.settings, ca)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (f *fleet) bootstrap(t *testing.T) string {
	t.Helper()
	text, err := JSON(f.settings)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (f *fleet) start(t *testing.T) {
	t.Helper()
	envoytest.Start(t, f.bootstrap(t), "--service-cluster", "shop/web", "--service-node", "web-1")
}

func (f *fleet) waitReady(t *testing.T) {
	t.Helper()
	envoytest.WaitFor(t, "Envoy to be ready", func() bool {
		code, _ := envoytest.Get(ReadyPort, ReadyPath)
		return code == http.StatusOK
	})
}

// authority is a CA and one certificate for a name.
type authority struct {
	pem  []byte
	leaf tls.Certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dns string) authority {
	t.Helper()
	a := authority{key: newKey(t)}
	a.cert = newCertificate(t, authorityTemplate(rand.Text()), nil, a.key, &a.key.PublicKey)
	key := newKey(t)
	leaf := newCertificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: dns}, DNSNames: []string{dns}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, a.key, &key.PublicKey)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	a.leaf = tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
	return a
}

// vouchFor adds a certificate to the other's chain with which a signs the other's CA.
func (a authority) vouchFor(t *testing.T, other *authority) {
	t.Helper()
	cross := newCertificate(t, authorityTemplate(other.cert.Subject.CommonName), a.cert, a.key, &other.key.PublicKey)
	other.leaf.Certificate = append(other.leaf.Certificate, cross.Raw)
}

func authorityTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newCertificate signs a certificate for a public key. Without a parent it signs itself.
func newCertificate(t *testing.T, template, parent *x509.Certificate, signer *ecdsa.PrivateKey,
	public *ecdsa.PublicKey,
) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// controlPlane is a delta ADS server that reports the token of each stream, and stops answering when answer is closed.
type controlPlane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	streams chan stream
	answer  chan struct{}
	leaf    atomic.Pointer[tls.Certificate]
	port    uint32
	server  *grpc.Server
}

// stream is a stream that Envoy opened; closing end ends it.
type stream struct {
	authorization []string
	node          *corev3.Node
	end           chan struct{}
}

func newControlPlane(t *testing.T, leaf tls.Certificate) *controlPlane {
	t.Helper()
	c := &controlPlane{streams: make(chan stream, 16), answer: make(chan struct{})}
	c.leaf.Store(&leaf)
	c.serve(t)
	t.Cleanup(func() { c.server.Stop() })
	return c
}

func (c *controlPlane) serve(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.port))
	if err != nil {
		t.Fatal(err)
	}
	c.port = uint32(listener.Addr().(*net.TCPAddr).Port)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.leaf.Load(), nil },
	})))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, c)
	c.server = server
	go func() { _ = server.Serve(listener) }()
}

// restart closes all connections.
func (c *controlPlane) restart(t *testing.T) {
	t.Helper()
	c.server.Stop()
	c.serve(t)
}

// next is the next stream that Envoy opens.
func (c *controlPlane) next(t *testing.T) stream {
	t.Helper()
	select {
	case s := <-c.streams:
		return s
	case <-time.After(30 * time.Second):
		t.Fatal("Envoy opened no xDS stream within 30 s")
		return stream{}
	}
}

func (c *controlPlane) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	meta, _ := metadata.FromIncomingContext(s.Context())
	seen := stream{authorization: meta.Get("authorization"), end: make(chan struct{})}
	failed := make(chan error, 1)
	go func() { failed <- c.answerAll(s, seen) }()
	select {
	case <-seen.end:
		return status.Error(codes.Unavailable, "the test ends the stream")
	case err := <-failed:
		return err
	}
}

func (c *controlPlane) answerAll(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
	seen stream,
) error {
	for {
		request, err := s.Recv()
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		if seen.node == nil {
			seen.node = request.GetNode()
			c.streams <- seen
		}
		if request.GetResponseNonce() != "" {
			continue
		}
		select {
		case <-c.answer:
		case <-s.Context().Done():
			return s.Context().Err()
		}
		response := &discoveryv3.DeltaDiscoveryResponse{
			TypeUrl: request.GetTypeUrl(), Nonce: request.GetTypeUrl(),
			SystemVersionInfo: "1",
		}
		if err := s.Send(response); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}
