package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
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
)

// installCertManager puts cert-manager and an ACME server into the cluster of all tests, where they stay.
var installCertManager = sync.OnceValue(func() error {
	if _, err := os.Stat(filepath.Join(bin, "cert-manager")); err != nil {
		return fmt.Errorf("%w; run tests/cluster/build.sh cert-manager", err)
	}
	install := exec.Command(filepath.Join(root, "tests/cert-manager/install.sh"))
	install.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"))
	out, err := install.CombinedOutput()
	if err != nil {
		pods, _ := kubectl("get", "pods", "-A") // An error is in what kubectl printed.
		return fmt.Errorf("%w: %s\n%s", err, out, pods)
	}
	return nil
})

// certManager installs cert-manager before the first test that needs it. Its ClusterIssuers are self-signed, ca and
// acme.
func certManager(t *testing.T) {
	t.Helper()
	if err := installCertManager(); err != nil {
		t.Fatal(err)
	}
}

// resolves tells the DNS server that the ACME server asks that a host is at a Gateway.
func (s scene) resolves(t *testing.T, gateway string, hosts ...string) {
	t.Helper()
	ip := strings.TrimSpace(s.kubectl(t, "get", "gateway", gateway, "-o", "jsonpath={.status.addresses[0].value}"))
	for _, host := range hosts {
		out, err := inside("curl", "-sSf", "-d", fmt.Sprintf(`{"host": %q, "addresses": [%q]}`, host, ip),
			"http://dns.acme.svc:8055/add-a")
		must(t, out, err)
	}
}

// certificateOf is the certificate in a Secret, in PEM.
func (s scene) certificateOf(t *testing.T, secret string) string {
	t.Helper()
	text, err := s.secretData(secret, "tls.crt")
	return must(t, text, err)
}

// caOfCluster is the CA of ClusterIssuer ca.
func caOfCluster(t *testing.T) string {
	t.Helper()
	return scene{"cert-manager"}.certificateOf(t, "ca")
}

// caOfACME is the root of the certificates that the ACME server issues.
func caOfACME(t *testing.T) string {
	t.Helper()
	text, err := inside("curl", "-sSfk", "https://pebble.acme.svc:15000/roots/0")
	return must(t, text, err)
}

// trusting is a transport to a host that trusts only these certificates in PEM.
func trusting(t *testing.T, host string, authorities ...string) *http.Transport {
	t.Helper()
	roots := x509.NewCertPool()
	for _, authority := range authorities {
		if !roots.AppendCertsFromPEM([]byte(authority)) {
			t.Fatalf("no certificate: %s", authority)
		}
	}
	return &http.Transport{TLSClientConfig: &tls.Config{ServerName: host, RootCAs: roots}}
}

// verified sends a request to a host over TLS and answers with the serial number of its certificate, if that is valid
// for the host and the transport trusts its issuer.
func verified(transport *http.Transport, at, host string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, "https://"+at+"/", nil)
	if err != nil {
		return "", err
	}
	request.Host = host
	response, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil { // What is not read would end the connection.
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answered %d", response.StatusCode)
	}
	return response.TLS.PeerCertificates[0].SerialNumber.String(), nil
}

// issuedBy waits until a host is served with a certificate of an authority, and answers with its serial number.
func issuedBy(t *testing.T, at, host, authority string) string {
	t.Helper()
	var serial string
	transport := trusting(t, host, authority)
	transport.DisableKeepAlives = true
	within(t, 90*time.Second, host+" is served with a certificate of the authority", func() (err error) {
		serial, err = verified(transport, at, host)
		return err
	})
	return serial
}

// handshakes is a load over TLS: on one connection that is kept, and on a new one for each request.
type handshakes struct {
	t       *testing.T
	end     chan struct{}
	running sync.WaitGroup

	mu       sync.Mutex
	sent     int
	failures []error
	serials  map[string]bool
}

// shakeHands sends requests until the load is ended. Each certificate must lead to one of the authorities.
func shakeHands(t *testing.T, at, host string, authorities ...string) *handshakes {
	t.Helper()
	l := &handshakes{t: t, end: make(chan struct{}), serials: map[string]bool{}}
	fresh := trusting(t, host, authorities...)
	fresh.DisableKeepAlives = true
	l.running.Go(func() { l.repeat(func() (string, error) { return verified(fresh, at, host) }) })
	kept := keptConnection{settings: trusting(t, host, authorities...).TLSClientConfig}
	l.running.Go(func() {
		defer kept.close()
		l.repeat(func() (string, error) { return kept.verified(at, host) })
	})
	return l
}

// keptConnection is one connection for all requests. That of an http.Transport is not reused if the goroutine that wrote
// the request is told so too late, which a busy machine makes happen.
type keptConnection struct {
	settings   *tls.Config
	connection *tls.Conn
	answers    *bufio.Reader
}

// verified is the function of this name on the connection, which the first request makes, and the one after a failure.
func (k *keptConnection) verified(at, host string) (serial string, err error) {
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	if k.connection == nil {
		dialer := &net.Dialer{Timeout: 5 * time.Second}
		if k.connection, err = tls.DialWithDialer(dialer, "tcp", net.JoinHostPort(at, "443"), k.settings); err != nil {
			return "", err
		}
		k.answers = bufio.NewReader(k.connection)
	}
	if err := k.connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(k.connection, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		return "", fmt.Errorf("on the connection that is kept: %w", err)
	}
	response, err := http.ReadResponse(k.answers, nil)
	if err != nil {
		return "", fmt.Errorf("on the connection that is kept: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return "", fmt.Errorf("on the connection that is kept: %w", err)
	}
	if response.StatusCode != http.StatusOK || response.Close {
		return "", fmt.Errorf("answered %d, and closes the connection: %t", response.StatusCode, response.Close)
	}
	return k.connection.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func (k *keptConnection) close() {
	if k.connection != nil {
		_ = k.connection.Close() // It may have been closed.
		k.connection = nil
	}
}

// repeat asks every few milliseconds.
func (l *handshakes) repeat(ask func() (string, error)) {
	for {
		select {
		case <-l.end:
			return
		case <-time.After(10 * time.Millisecond):
			l.add(ask())
		}
	}
}

func (l *handshakes) add(serial string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if err != nil {
		l.failures = append(l.failures, fmt.Errorf("%s: %w", time.Now().Format(time.TimeOnly), err))
		return
	}
	l.serials[serial] = true
}

// seen is how many different certificates were served so far.
func (l *handshakes) seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.serials)
}

// renewed waits until one certificate more is served than there have been.
func (l *handshakes) renewed(what string, limit time.Duration) {
	l.t.Helper()
	before := max(l.seen(), 1)
	within(l.t, limit, what, func() error {
		if l.seen() <= before {
			return errors.New("it is still the one of before")
		}
		return nil
	})
}

// noneFailed ends the load.
func (l *handshakes) noneFailed() {
	l.t.Helper()
	close(l.end)
	l.running.Wait()
	l.t.Logf("%d requests, %d certificates", l.sent, len(l.serials))
	if len(l.failures) > 0 || l.sent < 20 {
		l.t.Errorf("%d of %d requests failed: %v", len(l.failures), l.sent, errors.Join(l.failures[:min(5, len(l.failures))]...))
	}
}

// issuedGateway has a listener for a host with a certificate from an issuer, and one for everything in plain HTTP,
// where ACME challenges are answered.
const issuedGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, annotations: {%[1]s}}
spec:
  gatewayClassName: eg
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: https, protocol: HTTPS, port: 443, hostname: %[2]s, tls: {certificateRefs: [{name: served}]}}
`

// applyIssued stores what may be warned of: the Secret that a listener names is not there yet.
func (s scene) applyIssued(t *testing.T, manifests ...string) {
	t.Helper()
	out, err := s.tryApply(strings.Join(manifests, "\n---\n"))
	must(t, out, err)
}

// host is one that only this scene has.
func (s scene) host() string { return s.namespace + ".example.com" }

// TestCertManagerIssuesForGateway: a Gateway with an annotation is served over TLS with a certificate that is
// self-signed, then, when the annotation names another issuer, with one of the CA, and then with one of the ACME
// server, whose challenge the Gateway answers. Certificates that are renewed every few seconds, and the changes of the
// issuer, fail no request and end no connection.
func TestCertManagerIssuesForGateway(t *testing.T) {
	t.Parallel()
	certManager(t)
	s := newScene(t, "issued")
	host := s.host()
	annotate := func(annotations ...string) {
		t.Helper()
		s.kubectl(t, append([]string{"annotate", "gateway", "gw", "--overwrite"}, annotations...)...)
	}
	s.applyIssued(t, fmt.Sprintf(issuedGateway, "cert-manager.io/cluster-issuer: self-signed", host))
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), route("r", host))
	at := address(t, s.namespace, "gw")
	s.resolves(t, "gw", host)
	s.becomes(t, "certificate/served", condition(".status", "Ready"), "True")
	itself := s.certificateOf(t, "served")
	issuedBy(t, at, host, itself)

	load := shakeHands(t, at, host, itself, caOfCluster(t), caOfACME(t))
	annotate("cert-manager.io/cluster-issuer=ca", "cert-manager.io/duration=1h", "cert-manager.io/renew-before=59m54s")
	issuedBy(t, at, host, caOfCluster(t))
	for range 3 {
		load.renewed("the certificate of the CA is renewed", 30*time.Second)
	}
	annotate("cert-manager.io/cluster-issuer=acme", "cert-manager.io/duration-", "cert-manager.io/renew-before-")
	issuedBy(t, at, host, caOfACME(t))
	load.noneFailed()
	s.becomes(t, "httproute", "{.items[*].metadata.name}", "r") // The route of the challenge has gone.
}

// issuedSet is a ListenerSet with a host over TLS, whose certificate an issuer of its namespace issues, and a route.
const issuedSet = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: own}
spec: {%[1]s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: set, annotations: {cert-manager.io/issuer: own%[2]s}}
spec:
  parentRef: {name: gw, namespace: %[3]s}
  listeners:
  - {name: https, protocol: HTTPS, port: 443, hostname: %[4]s, tls: {certificateRefs: [{name: served}]}}
%[5]s
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{kind: ListenerSet, name: set, sectionName: https}]
  rules: [{backendRefs: [{name: a, port: 80}]}]
`

// ownCA is a CA of a namespace.
const ownCA = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: bootstrap}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: own-ca}
spec: {isCA: true, commonName: a CA of one namespace, secretName: own-ca, privateKey: {algorithm: ECDSA}, issuerRef: {name: bootstrap}}
`

// TestCertManagerIssuesForListenerSets: ListenerSets of other namespaces than the Gateway have certificates from issuers
// of their own namespaces: self-signed, from a CA, and from the ACME server with an account of their own. The challenge
// is answered by a plain listener of the ListenerSet, or, if it has none, by that of the Gateway.
func TestCertManagerIssuesForListenerSets(t *testing.T) {
	t.Parallel()
	certManager(t)
	s := newScene(t, "sets-issued")
	s.apply(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  allowedListeners: {namespaces: {from: All}}
  listeners: [{name: http, protocol: HTTP, port: 80, hostname: "*.example.com", allowedRoutes: {namespaces: {from: All}}}]
`)
	at := address(t, s.namespace, "gw")
	bundle, err := kubectl("get", "clusterissuer", "acme", "-o", "jsonpath={.spec.acme.caBundle}")
	acme := fmt.Sprintf("acme: {server: %q, caBundle: %q, privateKeySecretRef: {name: account}, solvers: [{http01: {gatewayHTTPRoute: {}}}]}",
		"https://pebble.acme.svc:14000/dir", must(t, bundle, err))
	const fallback = ", acme.cert-manager.io/http01-parentreffallback: 'true'"
	for _, c := range []struct {
		name, issuer, annotations string
		plain                     bool // It has a listener without TLS too.
		secret                    string
	}{
		{name: "self-signed-set", issuer: "selfSigned: {}", secret: "served"},
		{name: "ca-set", issuer: "ca: {secretName: own-ca}", secret: "own-ca"},
		{name: "acme-set", issuer: acme, plain: true},
		{name: "acme-tls-set", issuer: acme, annotations: fallback},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tenant := newScene(t, c.name)
			host := tenant.host()
			s.resolves(t, "gw", host)
			plain := ""
			if c.plain {
				plain = "  - {name: http, protocol: HTTP, port: 80, hostname: " + host + "}"
			}
			tenant.applyIssued(t, fmt.Sprintf(echoServer, "a", 1), ownCA,
				fmt.Sprintf(issuedSet, c.issuer, c.annotations, s.namespace, host, plain))
			authority := caOfACME(t)
			if c.secret != "" {
				tenant.becomes(t, "certificate/served", condition(".status", "Ready"), "True")
				authority = tenant.certificateOf(t, c.secret)
			}
			issuedBy(t, at, host, authority)
			tenant.becomes(t, "listenerset/set", condition(".status.listeners[0]", "Programmed"), "True")
		})
	}
}
