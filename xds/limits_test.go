package xds

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/go-logr/logr"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcstatus "google.golang.org/grpc/status"

	"gatehouse/translator"
)

// selfSigned is a certificate for servers and clients that is its own CA.
func selfSigned(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// limiting is a server that the rate limit service can connect to.
type limiting struct {
	*Server
	address string
	trusted *x509.CertPool
	service tls.Certificate
}

func serveLimits(t *testing.T) *limiting {
	t.Helper()
	own, trusted := selfSigned(t, "control.test")
	service, authorities := selfSigned(t, "ratelimit.test")
	l := &limiting{trusted: trusted, service: service}
	l.Server = New(Config{
		Authenticate: ours.authenticate, Log: logr.Discard(), RateLimits: func() *x509.CertPool { return authorities },
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.address = listener.Addr().String()
	endpoint := l.Serve(func() *tls.Certificate { return &own })
	stopped := make(chan error, 1)
	go func() { stopped <- endpoint.Serve(listener) }()
	t.Cleanup(func() {
		endpoint.Stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return l
}

type limitsClient struct {
	t *testing.T
	discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
}

func (l *limiting) connect(t *testing.T, shown ...tls.Certificate) *limitsClient {
	t.Helper()
	stream, err := l.open(t, shown...)
	if err != nil {
		t.Fatal(err)
	}
	return &limitsClient{t, stream}
}

func (l *limiting) open(t *testing.T, shown ...tls.Certificate) (
	discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient, error,
) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	conn, err := grpc.NewClient(l.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: l.trusted, ServerName: "control.test", Certificates: shown,
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
}

func (c *limitsClient) ask(nonce, problem string) {
	c.t.Helper()
	request := &discovery.DiscoveryRequest{
		Node: &corev3.Node{Id: "limits"}, TypeUrl: resource.RateLimitConfigType, ResponseNonce: nonce,
	}
	if problem != "" {
		request.ErrorDetail = &status.Status{Message: problem}
	}
	if err := c.Send(request); err != nil {
		c.t.Fatal(err)
	}
}

// want waits for a response with these resources, and returns its nonce.
func (c *limitsClient) want(bodies ...string) string {
	c.t.Helper()
	response, err := c.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	var got []string
	for _, r := range response.GetResources() {
		got = append(got, string(r.GetValue()))
	}
	if !slices.Equal(got, bodies) {
		c.t.Fatalf("the service gets %q, want %q", got, bodies)
	}
	return response.GetNonce()
}

func limitsOf(name, body string) *translator.Resource {
	return &translator.Resource{Type: resource.RateLimitConfigType, Name: name, Version: body, Pieces: [][]byte{[]byte(body)}}
}

func (l *limiting) publish(removed []string, changed ...*translator.Resource) {
	d := translator.Delta{Fleet: translator.RateLimitFleet, Changed: changed}
	for _, name := range removed {
		d.Removed = append(d.Removed, translator.Name{Type: resource.RateLimitConfigType, Name: name})
	}
	l.Publish([]translator.Delta{d})
}

// TestServiceGetsAllLimits: each response has everything, and the next one waits for the answer. A rejection is an
// answer too.
func TestServiceGetsAllLimits(t *testing.T) {
	l := serveLimits(t)
	c := l.connect(t, l.service)
	c.ask("", "")
	l.publish(nil, limitsOf("shop/b", "b1"), limitsOf("shop/a", "a1"))
	l.Synced()
	first := c.want("a1", "b1")
	l.publish(nil, limitsOf("shop/a", "a2"))
	l.publish([]string{"shop/b"})
	c.ask(first, "")
	second := c.want("a2")
	c.ask(second, "no")
	l.publish(nil, limitsOf("shop/c", "c1"))
	third := c.want("a2", "c1")
	l.publish([]string{"shop/a", "shop/c"})
	c.ask(third, "")
	c.want()

	again := l.connect(t, l.service) // As another replica.
	again.ask("", "")
	again.want()
}

// TestOnlyTheServiceGetsLimits: no limits without a certificate, and none with that of somebody else.
func TestOnlyTheServiceGetsLimits(t *testing.T) {
	l := serveLimits(t)
	l.publish(nil, limitsOf("shop/a", "a1"))
	l.Synced()
	other, _ := selfSigned(t, "ratelimit.test")
	for name, tc := range map[string]struct {
		shown []tls.Certificate
		code  codes.Code
	}{"none": {nil, codes.Unauthenticated}, "another": {[]tls.Certificate{other}, codes.Unavailable}} {
		stream, err := l.open(t, tc.shown...)
		if err == nil {
			_, err = stream.Recv()
		}
		if grpcstatus.Code(err) != tc.code {
			t.Errorf("with certificate %s the stream ends with %v, want %v", name, err, tc.code)
		}
	}
	c := l.connect(t, l.service)
	if err := c.Send(&discovery.DiscoveryRequest{TypeUrl: resource.ClusterType}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Recv(); grpcstatus.Code(err) != codes.InvalidArgument {
		t.Errorf("a request for clusters ends with %v, want InvalidArgument", err)
	}
}
