package fetch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"gatehouse/policies/backendtls"
	"gatehouse/translator"
)

// discovered is a client that may connect to this machine only for endpoints that EndpointSlices have.
var discovered = &Client{Addresses: NewAddresses(nil, nil), Discovered: loopback, Timeout: time.Minute}

// endpoint is where a server listens.
func endpoint(s *httptest.Server) string { return s.Listener.Addr().String() }

// through are backends of one need.
func through(backends ...translator.ViaBackend) *translator.Via {
	return &translator.Via{Source: "Service/shop/lists/80", Backends: backends}
}

// wantFetched fetches and expects the content.
func wantFetched(t *testing.T, c *Client, url, want string) {
	t.Helper()
	if answer, err := c.Get(t.Context(), url, 100, ""); err != nil || string(answer.Content) != want {
		t.Errorf("%s: got %+v, %v, want %q", url, answer, err, want)
	}
}

// TestBackendIsAskedForTheHost: the endpoints are connected to, whatever address the host of the URL has, and asked for
// that host. An endpoint that does not answer makes no difference while others do.
func TestBackendIsAskedForTheHost(t *testing.T) {
	s := site(t, func(w http.ResponseWriter, r *http.Request) { says(r.Host+r.URL.Path)(w, r) })
	gone := site(t, says(""))
	gone.Close()
	c := discovered.Through(through(translator.ViaBackend{Endpoints: []string{endpoint(gone), endpoint(s)}}))
	for range 10 {
		wantFetched(t, c, "http://idp.test/keys", "idp.test/keys")
	}
	wantFetched(t, c, "http://idp.test:81/keys", "idp.test:81/keys")
	wantFailure(t, discovered.Through(&translator.Via{}), "http://idp.test/keys",
		"its backend has no endpoint that is ready")
	wantFailure(t, discovered.Through(through(translator.ViaBackend{Endpoints: []string{endpoint(gone)}})),
		"http://idp.test/keys", "connection refused")
}

// TestFallbacksAreAskedLast: a fallback is asked only if no other backend answers, and each backend has TLS of its own.
func TestFallbacksAreAskedLast(t *testing.T) {
	certificate, authority := selfSigned(t, []string{"login.test"}, "spiffe://test/idp")
	s := httptest.NewUnstartedServer(says("fallback"))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.StartTLS()
	t.Cleanup(s.Close)
	first := site(t, says("first"))
	dead := make([]string, 5)
	for i := range dead {
		gone := site(t, says(""))
		gone.Close()
		dead[i] = endpoint(gone)
	}
	fallback := translator.ViaBackend{
		Endpoints: []string{endpoint(s)}, Fallback: true,
		TLS: &translator.ViaTLS{Authorities: authority, Verified: backendtls.Names{SNI: "login.test"}},
	}
	for range 10 {
		wantFetched(t, discovered.Through(through(fallback, translator.ViaBackend{Endpoints: []string{endpoint(first)}})),
			"http://idp.test/", "first")
		wantFetched(t, discovered.Through(through(fallback, translator.ViaBackend{Endpoints: dead})), "http://idp.test/",
			"fallback")
	}
}

// TestAddressesOfBackends: addresses that an object lists are checked like all others, after DNS. What EndpointSlices
// have is checked for itself.
func TestAddressesOfBackends(t *testing.T) {
	s := site(t, says("content"))
	_, port, err := net.SplitHostPort(endpoint(s))
	if err != nil {
		t.Fatal(err)
	}
	found, listed := through(translator.ViaBackend{Endpoints: []string{endpoint(s)}}),
		through(translator.ViaBackend{Endpoints: []string{endpoint(s)}, Listed: true})
	const denied = "address 127.0.0.1 is not one that the control plane may fetch from (fetching.allowedCIDRs of its configuration)"
	wantFetched(t, discovered.Through(found), "http://idp.test/", "content")
	wantFailure(t, discovered.Through(listed), "http://idp.test/", denied)
	other := &Client{Addresses: loopback, Discovered: NewAddresses(nil, nil), Timeout: time.Minute}
	wantFailure(t, other.Through(found), "http://idp.test/", denied)
	wantFetched(t, other.Through(listed), "http://idp.test/", "content")
	wantFetched(t, other.Through(through(translator.ViaBackend{Endpoints: []string{"localhost:" + port}, Listed: true})),
		"http://idp.test/", "content")
}

// TestBackendDoesNotLeadElsewhere: a redirect to another host is not followed, neither through the backend nor past it.
func TestBackendDoesNotLeadElsewhere(t *testing.T) {
	s := site(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "http://other.test/", http.StatusFound)
		case "/back":
			http.Redirect(w, r, "/", http.StatusFound)
		default:
			says("content")(w, r)
		}
	})
	c := discovered.Through(through(translator.ViaBackend{Endpoints: []string{endpoint(s)}}))
	wantFailure(t, c, "http://idp.test/away",
		"it redirects to another host, and its backend is asked only for the host of the URL")
	wantFetched(t, c, "http://idp.test/back", "content")
}

// TestTLSToBackends: without a BackendTLSPolicy the URL decides. With one, TLS is used in any case, and the backend is
// verified as the policy says.
func TestTLSToBackends(t *testing.T) {
	certificate, authority := selfSigned(t, []string{"login.test", "*.wide.test"}, "spiffe://test/idp")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request,
	) {
		says(r.TLS.ServerName+" "+r.Host)(w, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.StartTLS()
	t.Cleanup(s.Close)
	trusting := *discovered
	trusting.Authorities = x509.NewCertPool()
	trusting.Authorities.AppendCertsFromPEM(authority)
	const others, unknown = "its certificate is for other hosts",
		"its certificate is from an authority that is not trusted"
	plain := through(translator.ViaBackend{Endpoints: []string{endpoint(s)}})
	wantFetched(t, trusting.Through(plain), "https://login.test/", "login.test login.test")
	wantFailure(t, trusting.Through(plain), "https://idp.test/", others)
	wantFailure(t, discovered.Through(plain), "https://login.test/", unknown)

	for _, tt := range []struct {
		what    string
		names   backendtls.Names
		pem     []byte
		failure string
	}{
		{"by hostname", backendtls.Names{SNI: "login.test"}, authority, ""},
		{"by another hostname", backendtls.Names{SNI: "other.test"}, authority, others},
		{"with the system's authorities", backendtls.Names{SNI: "login.test"}, nil, unknown},
		{"by a host", backendtls.Names{SNI: "sni.test", Hosts: []string{"a.test", "a.wide.test"}}, authority, ""},
		{"by a URI", backendtls.Names{SNI: "sni.test", URIs: []string{"spiffe://test/idp"}}, authority, ""},
		{"by other names than the hostname", backendtls.Names{
			SNI: "login.test", Hosts: []string{"a.test"},
			URIs: []string{"spiffe://test/other"},
		}, authority, others},
		{
			"by a host, with the system's authorities",
			backendtls.Names{SNI: "sni.test", Hosts: []string{"login.test"}},
			nil,
			unknown,
		},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c := discovered.Through(through(translator.ViaBackend{
				Endpoints: []string{endpoint(s)},
				TLS:       &translator.ViaTLS{Authorities: tt.pem, Verified: tt.names},
			}))
			for _, url := range []string{"http://idp.test/", "https://idp.test/"} {
				if tt.failure != "" {
					wantFailure(t, c, url, tt.failure)
				} else {
					wantFetched(t, c, url, tt.names.SNI+" idp.test")
				}
			}
		})
	}
}

// selfSigned is a certificate that is its own authority, which is returned in PEM.
func selfSigned(t *testing.T, hosts []string, uri string) (certificate tls.Certificate, authority []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: hosts, URIs: []*url.URL{parsed}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestNewEndpointsAreForTheNextFetch: the endpoints of a backend change often, and that alone fetches nothing again.
func TestNewEndpointsAreForTheNextFetch(t *testing.T) {
	in, first, second := namespace(t), newSource(t, "list 1"), newSource(t, "list 2")
	leader := newReplica(t, in)
	leader.HTTP = discovered
	from := func(s *source) *translator.Fetch {
		want := first.fetch(time.Hour)
		want.URL, want.Via = "http://lists.test/", through(translator.ViaBackend{Endpoints: []string{s.address}})
		return want
	}
	key := from(first).Key()
	leader.Set(key, from(first))
	leader.lead(t)
	leader.await(t, key, "list 1", "")
	leader.Set(key, from(second))
	other := from(second)
	other.Via.Source = "Service/shop/others/80"
	leader.Set(other.Key(), other)
	leader.await(t, other.Key(), "list 2", "")
	if asked, again := first.asked.Load(), second.asked.Load(); asked != 1 || again != 1 {
		t.Errorf("the endpoints were asked %d and %d times", asked, again)
	}
	c, err := object(t, in, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Client(t).Delete(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	leader.await(t, key, "list 2", "")
}
