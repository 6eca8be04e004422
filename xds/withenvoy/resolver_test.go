package withenvoy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// serveNames makes a name server with the addresses of names, in their order, the one that Envoys of the test ask.
// All other names have the address outside.
func serveNames(t *testing.T, names map[string][]string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(config, []byte("nameserver 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(config, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount("/etc/resolv.conf", syscall.MNT_DETACH) })
	server, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		packet := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if err := query.Unpack(packet[:n]); err == nil && len(query.Questions) == 1 {
				resolve(&query, names)
				reply, _ := query.Pack()
				_, _ = server.WriteTo(reply, from)
			}
		}
	}()
}

// resolve makes a query its answer.
func resolve(query *dnsmessage.Message, names map[string][]string) {
	question := query.Questions[0]
	addresses := names[strings.TrimSuffix(question.Name.String(), ".")]
	if len(addresses) == 0 {
		addresses = []string{outside}
	}
	query.Response, query.Additionals = true, nil
	header := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 60}
	for _, address := range addresses {
		ip := net.ParseIP(address)
		switch {
		case question.Type == dnsmessage.TypeA && ip.To4() != nil:
			query.Answers = append(query.Answers, dnsmessage.Resource{
				Header: header, Body: &dnsmessage.AResource{A: [4]byte(ip.To4())},
			})
		case question.Type == dnsmessage.TypeAAAA && ip.To4() == nil:
			query.Answers = append(query.Answers, dnsmessage.Resource{
				Header: header, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip)},
			})
		}
	}
}

// TestHostsOfRequests sends requests through a Backend of type DynamicResolver: they go to the host that they name, and
// never to Envoy's own host, whether by its address or by a name that resolves to it, also if another address comes
// first. Clients cannot make Envoy keep any number of hosts.
func TestHostsOfRequests(t *testing.T) {
	haveOutside(t)
	serveNames(t, map[string][]string{
		"two.example.com": {"127.0.0.1", outside}, "own.example.com": {"127.0.0.1"}, "link.example.com": {"169.254.1.1"},
		"six.example.com": {"::1"}, "mapped.example.com": {"::ffff:127.0.0.1"}, "localhost": {"127.0.0.1"},
	})
	c := startTranslated(t, false)
	listed := c.listing("server", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, "plain ", r.Host) })
	port, local := listed.Spec.Endpoints[0].IP.Port, backend(t, "own host")

	resolver := &v1alpha1.Backend{ObjectMeta: c.meta("resolver")}
	resolver.Spec.Type = new(v1alpha1.BackendTypeDynamicResolver)
	c.apply(resolver, c.toHosts("resolver"))
	answers := func(host, want string) {
		t.Helper()
		if got := ask(t, proxyPort, host); !strings.HasPrefix(got, want) {
			t.Errorf("a request for host %s is answered with %s, want %s", host, got, want)
		}
	}
	known := fmt.Sprintf("a.example.com:%d", port)
	envoytest.WaitFor(t, "an answer of "+known, func() bool { return ask(t, proxyPort, known) == "200 plain "+known })
	for _, name := range []string{outside, "two.example.com"} {
		host := fmt.Sprintf("%s:%d", name, port)
		answers(host, "200 plain "+host)
	}
	for _, own := range []string{
		"127.0.0.1", "127.8.8.8", "0.0.0.0", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "169.254.1.1",
		"localhost", "own.example.com", "link.example.com", "six.example.com", "mapped.example.com",
	} {
		answers(fmt.Sprintf("%s:%d", own, local), "503")
	}
	answers(outside+":19001", "403")

	served := 0
	for i := range 1100 { // More hosts than an Envoy keeps.
		if ask(t, proxyPort, fmt.Sprintf("host%d.example.com:%d", i, port)) != "503 no healthy upstream" {
			served++
		}
	}
	if served < 900 || served > 1024 {
		t.Errorf("%d hosts are served at once, want not more than 1024", served)
	}
	answers(fmt.Sprintf("late.example.com:%d", port), "503")
	answers(known, "200 plain "+known)
}

// toHosts is a route for all hosts to a Backend.
func (c *translated) toHosts(name gwapiv1.ObjectName, filters ...gwapiv1.HTTPRouteFilter) *gwapiv1.HTTPRoute {
	c.t.Helper()
	route := c.route("any.example.com", nil)
	route.Spec.Hostnames = nil
	rule := at(gwapiv1.PathMatchPathPrefix, "/")
	rule.BackendRefs, rule.Filters = []gwapiv1.HTTPBackendRef{toListing(name)}, filters
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{rule}
	return route
}

// TestHostsOfRequestsWithTLS: with TLS the server name is the host of the request, and the certificate has to be for it.
func TestHostsOfRequestsWithTLS(t *testing.T) {
	haveOutside(t)
	serveNames(t, nil)
	c := startTranslated(t, false)
	ca := newAuthority(t)
	port := c.secureListing("secure", ca.issue("secure.example.com"), ca).Spec.Endpoints[0].IP.Port
	resolver := &v1alpha1.Backend{ObjectMeta: c.meta("resolver")}
	resolver.Spec.Type = new(v1alpha1.BackendTypeDynamicResolver)
	resolver.Spec.TLS = &v1alpha1.BackendTLSSettings{
		CACertificateRefs: []gwapiv1.LocalObjectReference{{Kind: "ConfigMap", Name: "ca"}},
	}
	resolver.Spec.TLS.ClientCertificateRef = &gwapiv1.SecretObjectReference{Name: "client"}
	c.apply(resolver, c.toHosts("resolver"), c.secret("client", ca.issue("client")), c.authorities("ca", ca.pem()))
	right, wrong := fmt.Sprintf("secure.example.com:%d", port), fmt.Sprintf("other.example.com:%d", port)
	envoytest.WaitFor(t, "an answer with TLS", func() bool {
		return strings.HasPrefix(ask(t, proxyPort, right), "200 secure.example.com client")
	})
	if got := ask(t, proxyPort, wrong); !strings.HasPrefix(got, "503") {
		t.Errorf("a host for which the certificate is not is answered with %s, want 503", got)
	}
	c.apply(c.toHosts("resolver", referring("header")...), c.routeFilter("header", "{urlRewrite: {hostname: {type: Header, header: x-to}}}"))
	envoytest.WaitFor(t, "the host that a filter has written to be the server name", func() bool {
		return strings.HasPrefix(c.asking("/", wrong, right), "200 secure.example.com client")
	})
	if got := c.asking("/", right, wrong); !strings.HasPrefix(got, "503") {
		t.Errorf("a host that a filter has written and for which the certificate is not is answered with %s, want 503", got)
	}
	c.apply(c.toHosts("resolver"))
	resolver = resolver.DeepCopy()
	resolver.Generation = c.meta("").Generation
	resolver.Spec.TLS.CACertificateRefs, resolver.Spec.TLS.InsecureSkipVerify = nil, new(true)
	c.apply(resolver)
	envoytest.WaitFor(t, "the certificate to be accepted without verification", func() bool {
		return strings.HasPrefix(ask(t, proxyPort, wrong), "200 other.example.com client")
	})
}

// TestRewrittenHostsAreResolved: the host that Envoy resolves is the one that filters have written, wherever they take it
// from, and what keeps requests away from Envoy's own host judges this one.
func TestRewrittenHostsAreResolved(t *testing.T) {
	haveOutside(t)
	serveNames(t, map[string][]string{"own.example.com": {"127.0.0.1"}})
	c := startTranslated(t, false)
	listed := c.listing("server", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, "plain ", r.Host) })
	port, local := listed.Spec.Endpoints[0].IP.Port, backend(t, "own host")
	resolver := &v1alpha1.Backend{ObjectMeta: c.meta("resolver")}
	resolver.Spec.Type = new(v1alpha1.BackendTypeDynamicResolver)
	route := c.toHosts("resolver", hosted("own.example.com"))
	to := func(path string, filters, ofBackend []gwapiv1.HTTPRouteFilter) {
		rule := at(gwapiv1.PathMatchPathPrefix, path, filters...)
		rule.BackendRefs = []gwapiv1.HTTPBackendRef{toListing("resolver")}
		rule.BackendRefs[0].Filters = ofBackend
		route.Spec.Rules = append(route.Spec.Rules, rule)
	}
	to("/header", referring("header"), nil)
	to("/path/", referring("path"), nil)
	to("/backend", referring("backend"), nil)
	to("/share", nil, []gwapiv1.HTTPRouteFilter{hosted("own.example.com")})
	c.apply(resolver, route,
		c.routeFilter("header", "{urlRewrite: {hostname: {type: Header, header: x-to}}}"),
		c.routeFilter("path", `{urlRewrite: {hostname: {type: PathRegex, pathRegex: {pattern: "^/path/(.*)$", substitution: '\1'}}}}`),
		c.routeFilter("backend", "{urlRewrite: {hostname: {type: Backend}}}"))

	good, bad := fmt.Sprintf("a.example.com:%d", port), fmt.Sprintf("own.example.com:%d", local)
	envoytest.WaitFor(t, "the routes", func() bool { return strings.HasPrefix(c.asking("/backend", good, ""), "200") })
	for _, test := range []struct{ path, host, header, want string }{
		{"/", good, "", "503"},
		{"/share", good, "", "503"},
		{"/header", bad, good, "200 plain " + good},
		{"/header", good, bad, "503"},
		{"/path/" + good, bad, "", "200 plain " + good},
		{"/path/" + bad, good, "", "503"},
		{"/path/127.0.0.1:" + fmt.Sprint(local), good, "", "503"},
		{"/backend", good, "", "200 plain " + good},
		{"/backend", bad, "", "503"},
	} {
		if got := c.asking(test.path, test.host, test.header); !strings.HasPrefix(got, test.want) {
			t.Errorf("a request for %s of host %s with x-to %q is answered with %s, want %s", test.path, test.host, test.header, got, test.want)
		}
	}
}

// hosted is a filter that writes the host.
func hosted(name gwapiv1.PreciseHostname) gwapiv1.HTTPRouteFilter {
	return gwapiv1.HTTPRouteFilter{
		Type: gwapiv1.HTTPRouteFilterURLRewrite, URLRewrite: &gwapiv1.HTTPURLRewriteFilter{Hostname: &name},
	}
}

// asking sends a request for a path and a host, and with a header x-to.
func (c *translated) asking(path, host, to string) string {
	c.t.Helper()
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", proxyPort, path), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Host = host
	request.Header.Set("X-To", to)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprint(response.StatusCode, " ", string(body), err)
}

// TestServerNamesAreResolved sends TLS through a TLSRoute to a Backend of type DynamicResolver: it goes to port 443 of the
// server name, and never to Envoy's own host or its link, also if such an address comes first. Where TLS ends, nothing is
// sent.
func TestServerNamesAreResolved(t *testing.T) {
	haveOutside(t)
	serveNames(t, map[string][]string{
		"two.example.com": {"127.0.0.1", outside}, "own.example.com": {"127.0.0.1"}, "zero.example.com": {"0.0.0.0"},
		"link.example.com": {"169.254.169.254"}, "six.example.com": {"::1"}, "mapped.example.com": {"::ffff:127.0.0.1"},
	})
	ca, served := certificates(t, "*.example.com")
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	for address, name := range map[string]string{outside: "outside", "127.0.0.1": "own host", "[::1]": "own host"} {
		listener, err := net.Listen("tcp", address+":443")
		if err != nil {
			t.Fatal(err)
		}
		speaker(t, tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{served}, MinVersion: tls.VersionTLS12}), name)
	}

	m := &translated{generation: 100}
	gateway := m.gateway(false)
	gateway.Spec.Listeners = []gwapiv1.Listener{
		{Name: "through", Protocol: gwapiv1.TLSProtocolType, Port: 443, TLS: &gwapiv1.ListenerTLSConfig{Mode: new(gwapiv1.TLSModePassthrough)}},
		{
			Name: "end", Protocol: gwapiv1.TLSProtocolType, Port: 444,
			TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "end"}}},
		},
	}
	resolver := &v1alpha1.Backend{ObjectMeta: m.meta("resolver")}
	resolver.Spec.Type = new(v1alpha1.BackendTypeDynamicResolver)
	to := func(listener gwapiv1.SectionName) *gwapiv1.TLSRoute {
		route := m.tlsRoute(listener, "*.example.com", string(listener))
		route.Spec.Rules[0].BackendRefs = []gwapiv1.BackendRef{toListing("resolver").BackendRef}
		return route
	}
	startTranslated(t, false, gateway, resolver, keyPair(t, m.meta("end"), served), to("through"), to("end"))

	envoytest.WaitFor(t, "a server name to be resolved", func() bool { return heard(10443, "a.example.com", trusted) == "outside" })
	for name, want := range map[string]string{
		"b.example.com": "outside", "two.example.com": "outside",
		"own.example.com": "", "zero.example.com": "", "link.example.com": "", "six.example.com": "", "mapped.example.com": "",
	} {
		if got := heard(10443, name, trusted); got != want {
			t.Errorf("a connection for server name %q hears %q, want %q", name, got, want)
		}
	}
	if got := heard(10444, "a.example.com", trusted); got != "" {
		t.Errorf("a connection whose TLS ends at Envoy hears %q", got)
	}
}
