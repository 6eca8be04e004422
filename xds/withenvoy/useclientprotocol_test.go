package withenvoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// speaks sends a request in a version of HTTP, without TLS, and returns the status and the body.
func speaks(t *testing.T, version int, host string) string {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	defer transport.CloseIdleConnections()
	transport.Protocols.SetHTTP1(version == 1)
	transport.Protocols.SetUnencryptedHTTP2(version == 2)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", proxyPort), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", response.StatusCode, body)
}

// TestUseClientProtocol: with useClientProtocol, requests of HTTP/1.1 are forwarded in HTTP/1.1 and those of HTTP/2 in
// HTTP/2, whatever the appProtocol says, with TLS and without. Without it, the version is that of the backend.
func TestUseClientProtocol(t *testing.T) {
	haveOutside(t)
	c := startTranslated(t, false)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	objects := c.behind("both")
	objects[0].(*corev1.Service).Spec.Ports[0].AppProtocol = new("kubernetes.io/h2c")
	c.apply(append(objects, c.further("both", "http", server.Listener.Addr().(*net.TCPAddr).Port))...)

	ca := newAuthority(t)
	c.apply(c.secret("client", ca.issue("client")), c.authorities("ca", ca.pem()))
	b := c.secureListing("secure", ca.issue("secure.test"), ca)
	b.Spec.TLS = &v1alpha1.BackendTLSSettings{
		CACertificateRefs:    []gwapiv1.LocalObjectReference{{Kind: "ConfigMap", Name: "ca"}},
		ClientCertificateRef: &gwapiv1.SecretObjectReference{Name: "client"}, SNI: new(gwapiv1.PreciseHostname("secure.test")),
		ALPNProtocols: []v1alpha1.ALPNProtocol{"h2", "http/1.1"},
	}
	c.apply(b)
	for host, to := range map[string]gwapiv1.HTTPBackendRef{"both.test": weighing("both", 1), "secure.test": toListing("secure")} {
		route := c.route(host, nil)
		rule := at(gwapiv1.PathMatchPathPrefix, "/")
		rule.BackendRefs = []gwapiv1.HTTPBackendRef{to}
		route.Spec.Rules = []gwapiv1.HTTPRouteRule{rule}
		c.apply(route)
	}
	expect := func(version int, host, want string) {
		t.Helper()
		envoytest.WaitFor(t, fmt.Sprintf("%s in HTTP/%d to be answered %s", host, version, want), func() bool {
			return speaks(t, version, host) == want
		})
	}
	for version := 1; version <= 2; version++ {
		expect(version, "both.test", "200 HTTP/2.0")
		expect(version, "secure.test", "200 secure.test client HTTP/2.0 1.3")
	}
	c.apply(c.traffic("HTTPRoute", "both.test", "{useClientProtocol: true}"), c.traffic("HTTPRoute", "secure.test", "{useClientProtocol: true}"))
	for version, proto := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0"} {
		expect(version, "both.test", "200 "+proto)
		expect(version, "secure.test", "200 secure.test client "+proto+" 1.3")
	}
}
