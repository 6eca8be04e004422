package withenvoy

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/envoytest"
	"gatehouse/policies/certificate"
	"gatehouse/translator"
)

// authority is a CA that issues certificates for both sides of TLS.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, der := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil, nil)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, key: key, cert: cert}
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) issue(names ...string) tls.Certificate {
	a.t.Helper()
	id, err := neturl.Parse("spiffe://example.com/" + names[0])
	if err != nil {
		a.t.Fatal(err)
	}
	key, der := sign(a.t, &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, URIs: []*neturl.URL{id},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secret is a Secret with a certificate.
func (c *translated) secret(name string, certificate tls.Certificate) *corev1.Secret {
	c.t.Helper()
	return keyPair(c.t, c.meta(name), certificate)
}

// keyPair puts a certificate and its key into a Secret.
func keyPair(t testing.TB, meta metav1.ObjectMeta, certificate tls.Certificate) *corev1.Secret {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	}}
}

func (c *translated) authorities(name, pem string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: c.meta(name), Data: map[string]string{certificate.AuthoritiesKey: pem}}
}

// secureBackend is a Service with one TLS endpoint, which requests a certificate of the authority and answers with the
// server name of the connection and the name of its client. Drop ends its connections.
func (c *translated) secureBackend(server tls.Certificate, clients *authority) (objects []translator.Object,
	drop func(),
) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s", r.TLS.ServerName, r.TLS.PeerCertificates[0].Subject.CommonName, r.Proto)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // Handshakes fail here on purpose.
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs: clients.pool(),
	}
	s.StartTLS()
	c.t.Cleanup(s.Close)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: c.meta("secure"), AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(s.Listener.Addr().(*net.TCPAddr).Port))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "secure"}
	route := c.route("secure.example.com", nil)
	route.Spec.Rules[0].BackendRefs[0].Name, route.Spec.Rules[0].BackendRefs[0].Port = "secure", new(int32(443))
	return []translator.Object{
		&corev1.Service{ObjectMeta: c.meta("secure"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{
			Name: "https",
			Port: 443,
		}}}}, slice, route,
	}, s.CloseClientConnections
}

func (c *translated) backendTLS(hostname gwapiv1.PreciseHostname,
	sans ...gwapiv1.SubjectAltName,
) *gwapiv1.BackendTLSPolicy {
	p := &gwapiv1.BackendTLSPolicy{ObjectMeta: c.meta("secure")}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Kind, target.Name = "Service", "secure"
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	p.Spec.Validation = gwapiv1.BackendTLSPolicyValidation{
		CACertificateRefs: []gwapiv1.LocalObjectReference{{Kind: "ConfigMap", Name: "ca"}}, Hostname: hostname,
		SubjectAltNames: sans,
	}
	return p
}

// TestBackendsAreKnownByTheirCertificates tests TLS to a backend, with verification in both directions.
func TestBackendsAreKnownByTheirCertificates(t *testing.T) {
	c := startTranslated(t, false)
	ca := newAuthority(t)
	answers := func(want string) {
		t.Helper()
		got := ""
		envoytest.WaitFor(t, "the answer "+want, func() bool {
			got = ask(t, proxyPort, "secure.example.com")
			return strings.HasPrefix(got, want)
		})
	}
	withClient := c.gateway(false, 80, 8081)
	withClient.Spec.TLS = &gwapiv1.GatewayTLSConfig{Backend: &gwapiv1.GatewayBackendTLS{ClientCertificateRef: &gwapiv1.SecretObjectReference{Name: "client"}}}
	backend, drop := c.secureBackend(ca.issue("secure"), ca)
	c.apply(append(backend, withClient, c.secret("client", ca.issue("gateway")), c.authorities("ca", ca.pem()),
		c.backendTLS("secure"))...)
	answers("200 secure gateway HTTP/2.0")

	c.apply(c.backendTLS("other")) // The backend has no certificate for that name.
	answers("503")
	c.apply(c.backendTLS("other", gwapiv1.SubjectAltName{
		Type: gwapiv1.URISubjectAltNameType,
		URI:  "spiffe://example.com/secure",
	}))
	answers("200 other gateway")
	c.apply(c.backendTLS("secure", gwapiv1.SubjectAltName{
		Type: gwapiv1.URISubjectAltNameType,
		URI:  "spiffe://example.com/else",
	}))
	answers("503")
	c.apply(c.backendTLS("secure"))
	answers("200 secure gateway")

	c.apply(c.authorities("ca", "")) // Without CA certificates nothing is sent to the backend.
	answers("500")
	c.apply(c.authorities("ca", newAuthority(t).pem())) // Connections that were verified before stay open.
	envoytest.WaitFor(t, "a new connection to be refused", func() bool {
		drop()
		return strings.HasPrefix(ask(t, proxyPort, "secure.example.com"), "503")
	})
	c.apply(c.authorities("ca", ca.pem()))
	answers("200 secure gateway")

	c.apply(c.secret("client", ca.issue("renewed")), c.backendTLS("renewed",
		gwapiv1.SubjectAltName{Type: gwapiv1.HostnameSubjectAltNameType, Hostname: "secure"}))
	answers("200 renewed renewed")
	c.apply(c.gateway(false, 80, 8081)) // Without its own certificate the backend rejects the Gateway.
	answers("503")
}

// httpsGateway has listeners with TLS: name, port and hostname of each.
func (c *translated) httpsGateway(listeners ...gwapiv1.Listener) *gwapiv1.Gateway {
	g := c.gateway(false)
	for _, l := range listeners {
		l.Protocol, l.TLS = gwapiv1.HTTPSProtocolType,
			&gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "server"}}}
		g.Spec.Listeners = append(g.Spec.Listeners, l)
	}
	return g
}

// askTLS sends a request for a host over its own HTTP/2 connection, which was opened for the server name.
func askTLS(t testing.TB, port int, serverName, host string, certificates ...tls.Certificate) string {
	t.Helper()
	config := &tls.Config{ServerName: serverName, InsecureSkipVerify: true}
	// A certificate is sent even if the server asks for certificates of another CA.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(certificates) == 0 {
			return &tls.Certificate{}, nil
		}
		return &certificates[0], nil
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	response, err := (&http.Client{Timeout: 5 * time.Second, Transport: transport}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	if response.ProtoMajor != 2 {
		t.Errorf("the answer came by %s, want HTTP/2", response.Proto)
	}
	return fmt.Sprint(response.StatusCode)
}

// TestClientsAreAskedForCertificates: with AllowValidOnly only clients with a certificate of the CA can connect, with
// AllowInsecureFallback all can. A port whose CA certificates are lost is closed.
func TestClientsAreAskedForCertificates(t *testing.T) {
	c := startTranslated(t, false)
	ca, other := newAuthority(t), newAuthority(t)
	refs := []gwapiv1.ObjectReference{{Kind: "ConfigMap", Name: "ca"}}
	g := c.httpsGateway(gwapiv1.Listener{Name: "strict", Port: 443}, gwapiv1.Listener{Name: "lax", Port: 8443})
	g.Spec.TLS = &gwapiv1.GatewayTLSConfig{Frontend: &gwapiv1.FrontendTLSConfig{
		Default: gwapiv1.TLSConfig{Validation: &gwapiv1.FrontendTLSValidation{
			CACertificateRefs: refs,
			Mode:              gwapiv1.AllowValidOnly,
		}},
		PerPort: []gwapiv1.TLSPortConfig{{Port: 8443, TLS: gwapiv1.TLSConfig{
			Validation: &gwapiv1.FrontendTLSValidation{CACertificateRefs: refs, Mode: gwapiv1.AllowInsecureFallback},
		}}},
	}}
	const host = "www.example.com"
	c.apply(g, c.secret("server", ca.issue(host)), c.authorities("ca", ca.pem()), c.route(host, nil))
	client, stranger := ca.issue("client"), other.issue("client")
	envoytest.WaitFor(t, "the client to be let in", func() bool { return askTLS(t, 10443, host, host, client) == "200" })
	for name, certificates := range map[string][]tls.Certificate{"nobody": nil, "a stranger": {stranger}} {
		if got := askTLS(t, 10443, host, host, certificates...); !strings.HasPrefix(got, "Get ") {
			t.Errorf("%s got %q, want no answer", name, got)
		}
	}
	for name, certificates := range map[string][]tls.Certificate{
		"nobody": nil, "a stranger": {stranger},
		"the client": {client},
	} {
		envoytest.WaitFor(t, name+" to be let in", func() bool {
			return askTLS(t, 8443, host, host,
				certificates...) == "200"
		})
	}

	c.apply(c.authorities("ca", other.pem()))
	envoytest.WaitFor(t, "the stranger to be let in by the new CA",
		func() bool { return askTLS(t, 10443, host, host, stranger) == "200" })
	if got := askTLS(t, 10443, host, host, client); !strings.HasPrefix(got, "Get ") {
		t.Errorf("a client of the old CA got %q, want no answer", got)
	}
	c.delete(c.authorities("ca", ""))
	envoytest.WaitFor(t, "the port to close", func() bool {
		return strings.Contains(askTLS(t, 10443, host, host, stranger),
			"refused")
	})
}

// TestMisdirectedRequests sends requests for hosts over connections that were opened for other hosts.
func TestMisdirectedRequests(t *testing.T) {
	c := startTranslated(t, false)
	names := map[string]gwapiv1.Hostname{
		"any": "", "exact": "second.example.com", "wild": "*.wild.example.com",
		"within": "fourth.wild.example.com",
	}
	var listeners []gwapiv1.Listener
	for _, name := range []string{"any", "exact", "wild", "within"} {
		l := gwapiv1.Listener{Name: gwapiv1.SectionName(name), Port: 443}
		if host := names[name]; host != "" {
			l.Hostname = &host
		}
		listeners = append(listeners, l)
	}
	objects := []translator.Object{c.httpsGateway(listeners...), c.secret("server", newAuthority(t).issue("example.com"))}
	for name, host := range map[gwapiv1.SectionName]string{
		"any": "first.example.com", "exact": "",
		"wild": "third.wild.example.com", "within": "",
	} {
		r := c.route("on-"+string(name), &name)
		r.Spec.Hostnames = nil
		if host != "" {
			r.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(host)}
		}
		objects = append(objects, r)
	}
	c.apply(objects...)
	for _, x := range []struct{ serverName, host, want string }{
		{"first.example.com", "first.example.com", "200"},
		{"first.example.com", "second.example.com", "421"},
		{"first.example.com", "unknown.example.com", "404"},
		{"second.example.com", "second.example.com", "200"},
		{"second.example.com", "second.example.com:443", "200"},
		{"second.example.com", "first.example.com", "421"},
		{"second.example.com", "unknown.example.com", "421"},
		{"third.wild.example.com", "third.wild.example.com", "200"},
		{"third.wild.example.com", "unrouted.wild.example.com", "404"},
		{"third.wild.example.com", "fourth.wild.example.com", "421"},
		{"third.wild.example.com", "unknown.example.com", "421"},
		{"fourth.wild.example.com", "fourth.wild.example.com", "200"},
		{"fourth.wild.example.com", "third.wild.example.com", "421"},
		{"unknown.example.com", "first.example.com", "200"},
		{"unknown.example.com", "unknown.example.com", "404"},
	} {
		got := ""
		envoytest.WaitFor(t, fmt.Sprintf("%s over a connection for %s to answer %s", x.host, x.serverName, x.want),
			func() bool {
				got = askTLS(t, 10443, x.serverName, x.host)
				return got == x.want
			})
	}
}
