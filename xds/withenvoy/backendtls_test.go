package withenvoy

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// TestBackendsWithTLS sends requests to a Backend that asks for TLS itself: the right CA certificate and names are
// accepted and others are not, the certificate of the client is really presented and renewed, and the chosen version is
// spoken. What is missing is answered with 500.
func TestBackendsWithTLS(t *testing.T) {
	haveOutside(t)
	c := startTranslated(t, false)
	ca := newAuthority(t)
	const host = "secure.example.com"
	b := c.secureListing("secure", ca.issue(host), ca)
	route := c.route(host, nil)
	rule := at(gwapiv1.PathMatchPathPrefix, "/")
	rule.BackendRefs = []gwapiv1.HTTPBackendRef{toListing("secure")}
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{rule}
	answers := func(want string, change func(tls *v1alpha1.BackendTLSSettings)) {
		t.Helper()
		b = b.DeepCopy()
		b.Generation = c.meta("").Generation
		b.Spec.TLS = &v1alpha1.BackendTLSSettings{
			CACertificateRefs: []gwapiv1.LocalObjectReference{{Kind: "ConfigMap", Name: "ca"}},
		}
		b.Spec.TLS.ClientCertificateRef = &gwapiv1.SecretObjectReference{Name: "client"}
		if change != nil {
			change(b.Spec.TLS)
		}
		c.apply(b)
		got := ""
		envoytest.WaitFor(t, "the answer "+want, func() bool {
			got = ask(t, proxyPort, host)
			return strings.HasPrefix(got, want)
		})
	}
	c.apply(route, c.secret("client", ca.issue("client")), c.authorities("ca", ca.pem()))
	answers("200 secure.example.com client HTTP/2.0 1.3", nil) // The server name is the host of the request.
	answers("200 secure.example.com client HTTP/1.1 1.2", func(own *v1alpha1.BackendTLSSettings) {
		own.MaxVersion, own.ALPNProtocols = new(v1alpha1.TLSv12), []v1alpha1.ALPNProtocol{}
	})
	answers("503", func(own *v1alpha1.BackendTLSSettings) { own.SNI = new(gwapiv1.PreciseHostname("other.example.com")) })
	answers("200 other.example.com client", func(own *v1alpha1.BackendTLSSettings) {
		own.CACertificateRefs, own.InsecureSkipVerify = nil, new(true)
		own.SNI = new(gwapiv1.PreciseHostname("other.example.com"))
	})
	answers("503", func(own *v1alpha1.BackendTLSSettings) { own.ClientCertificateRef = nil })
	answers("500", func(own *v1alpha1.BackendTLSSettings) { own.ClientCertificateRef.Name = "missing" })
	answers("500", func(own *v1alpha1.BackendTLSSettings) { own.CACertificateRefs[0].Name = "missing" })
	c.apply(c.authorities("wrong", newAuthority(t).pem()))
	answers("503", func(own *v1alpha1.BackendTLSSettings) { own.CACertificateRefs[0].Name = "wrong" })
	for name, want := range map[string]string{host: "200 secure.example.com client", "other.example.com": "503"} {
		answers(want, func(own *v1alpha1.BackendTLSSettings) {
			own.AutoSNIFromEndpointHostname, b.Spec.Endpoints[0].Hostname = new(true), new(name)
		})
	}

	answers("200 secure.example.com client", nil)
	c.apply(c.secret("client", ca.issue("renewed")))
	answers("200 secure.example.com renewed", func(own *v1alpha1.BackendTLSSettings) { own.MaxVersion = new(v1alpha1.TLSv12) })
}

// secureListing is a Backend with one TLS endpoint, which requires a certificate of the authority and answers with the
// server name of the connection, the name of its client, the protocol and the version of TLS.
func (c *translated) secureListing(name string, server tls.Certificate, clients *authority) *v1alpha1.Backend {
	c.t.Helper()
	versions := map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Join([]string{
			r.TLS.ServerName, r.TLS.PeerCertificates[0].Subject.CommonName, r.Proto, versions[r.TLS.Version],
		}, " "))
	}))
	_ = s.Listener.Close()
	listener, err := net.Listen("tcp", outside+":0")
	if err != nil {
		c.t.Fatal(err)
	}
	s.Listener, s.EnableHTTP2 = listener, true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // Handshakes fail here on purpose.
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.pool(),
	}
	s.StartTLS()
	c.t.Cleanup(s.Close)
	b := &v1alpha1.Backend{ObjectMeta: c.meta(name)}
	b.Spec.Endpoints = []v1alpha1.BackendEndpoint{{
		IP: &v1alpha1.IPEndpoint{Address: outside, Port: int32(listener.Addr().(*net.TCPAddr).Port)},
	}}
	return b
}
