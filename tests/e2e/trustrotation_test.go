package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// securedServer in the environment makes this program a backend with TLS (serveSecured).
const securedServer = "GATEHOUSE_E2E_SECURED"

// serveSecured serves with what is in the Secrets backend and clients at that moment, and closes each connection after one
// request, so that every request needs a new handshake. Clients need a certificate of one of the CAs of the Secret clients.
// The answer is who issued the certificate of the backend, who issued that of its client, and the CAs.
func serveSecured() error {
	var last atomic.Pointer[tls.Config]
	server := &http.Server{
		Addr: ":8443", ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s, asked by %s", last.Load().ServerName, r.TLS.PeerCertificates[0].Issuer.CommonName)
		}),
		TLSConfig: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now, err := mounted()
			if err != nil {
				fmt.Fprintln(os.Stderr, "reading the Secrets:", err) // It may be between two files of a change.
			} else {
				last.Store(now)
			}
			if now = last.Load(); now == nil {
				return nil, err
			}
			return now, nil
		}},
	}
	server.SetKeepAlivesEnabled(false)
	return server.ListenAndServeTLS("/backend/tls.crt", "/backend/tls.key")
}

// mounted is what the Secrets say. What it is is in the field ServerName, which servers do not use.
func mounted() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair("/backend/tls.crt", "/backend/tls.key")
	if err != nil {
		return nil, err
	}
	rest, err := os.ReadFile("/clients/ca.crt")
	if err != nil {
		return nil, err
	}
	pool, says := x509.NewCertPool(), pair.Leaf.Issuer.CommonName+" for"
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(ca)
		says += " " + ca.Subject.CommonName
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{"http/1.1"}, ServerName: says,
		SessionTicketsDisabled: true, // A resumed session would show no certificate.
	}, nil
}

// twoCAs are two CAs, and certificates of the first one for a server, for the Gateway towards backends, for a backend, and
// for a client of each CA.
const twoCAs = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: bootstrap}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: ca-one}
spec: {isCA: true, commonName: one, secretName: ca-one, privateKey: {algorithm: ECDSA}, issuerRef: {name: bootstrap}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: ca-two}
spec: {isCA: true, commonName: two, secretName: ca-two, privateKey: {algorithm: ECDSA}, issuerRef: {name: bootstrap}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: one}
spec: {ca: {secretName: ca-one}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: two}
spec: {ca: {secretName: ca-two}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: served}
spec: {dnsNames: [www.example.com], secretName: served, privateKey: {algorithm: ECDSA}, issuerRef: {name: one}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: backend}
spec: {dnsNames: [backend.example.com], secretName: backend, privateKey: {algorithm: ECDSA}, issuerRef: {name: one}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: gateway}
spec: {dnsNames: [gateway.example.com], usages: [client auth], secretName: gateway, privateKey: {algorithm: ECDSA}, issuerRef: {name: one}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: client-one}
spec: {dnsNames: [client.example.com], usages: [client auth], secretName: client-one, privateKey: {algorithm: ECDSA}, issuerRef: {name: one}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: client-two}
spec: {dnsNames: [client.example.com], usages: [client auth], secretName: client-two, privateKey: {algorithm: ECDSA}, issuerRef: {name: two}}
`

const securedPorts = `
        ports: [{name: https, containerPort: 8443}]
        readinessProbe: {tcpSocket: {port: https}, periodSeconds: 1}
`

// policedService is the backend as a Service, which a BackendTLSPolicy secures. The argument is the CAs that it is judged by.
const policedService = `
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: https, port: 80, targetPort: https}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: a}
spec:
  targetRefs: [{group: "", kind: Service, name: a}]
  validation: {hostname: backend.example.com, caCertificateRefs: [%s]}
`

// askingBackend is the backend as a Backend, which asks for TLS itself. The arguments are the CAs that it is judged by, and
// the namespace.
const askingBackend = `
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: https, port: 80, targetPort: https}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: a}
spec:
  endpoints: [{fqdn: {hostname: a.%[2]s.svc.cluster.local, port: 80}}]
  tls: {sni: backend.example.com, caCertificateRefs: [%[1]s], clientCertificateRef: {name: gateway}}
`

// askingGateway asks clients for certificates. The arguments are the CAs that they are judged by, and what it presents to
// backends.
const askingGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  tls:
    frontend: {default: {validation: {caCertificateRefs: [%s]}}}
%s
  listeners: [{name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: served}]}}]
`

// trustSources are the kinds of objects that CAs are read from.
var trustSources = []struct {
	name string
	// cas are the names of the CAs that are trusted, objects contain their certificates, and refs refer to these objects.
	objects func(t *testing.T, s scene, cas ...string) string
	refs    func(s scene, cas ...string) string
}{
	{
		name:    "ConfigMap",
		objects: func(t *testing.T, s scene, cas ...string) string { return bundleInConfigMap(s.authorities(t, cas...)) },
		refs:    func(scene, ...string) string { return `{group: "", kind: ConfigMap, name: trusted}` },
	},
	{
		name:    "Secret",
		objects: func(*testing.T, scene, ...string) string { return "" },
		refs: func(_ scene, cas ...string) string {
			refs := make([]string, len(cas))
			for i, ca := range cas {
				refs[i] = fmt.Sprintf(`{group: "", kind: Secret, name: ca-%s}`, ca)
			}
			return strings.Join(refs, ", ")
		},
	},
	{
		name: "ClusterTrustBundle",
		objects: func(t *testing.T, s scene, cas ...string) string {
			return trustBundle(t, s.namespace, s.authorities(t, cas...))
		},
		refs: func(s scene, _ ...string) string {
			return fmt.Sprintf("{group: certificates.k8s.io, kind: ClusterTrustBundle, name: %s}", s.namespace)
		},
	},
}

// TestCertManagerRotatesTrust: CAs of backends and of clients, the client certificate of the Gateway and the certificate of
// a backend, all from cert-manager, move from one CA to another under load. CAs are in a ConfigMap as trust-manager writes it,
// in Secrets of cert-manager, or in a ClusterTrustBundle. As long as both CAs are trusted in between, no request fails.
// Afterwards the old one is not trusted any more, on either side.
func TestCertManagerRotatesTrust(t *testing.T) {
	t.Parallel()
	rotateTrust(t, route("r", "www.example.com"), func(_ scene, refs string) string {
		return fmt.Sprintf(policedService+"---"+askingGateway, refs, refs, "    backend: {clientCertificateRef: {name: gateway}}")
	})
}

// TestCertManagerRotatesTrustOfBackends: the same with the CAs and the client certificate in tls of a Backend.
func TestCertManagerRotatesTrustOfBackends(t *testing.T) {
	t.Cleanup(func() { reconfigure(t, "extensionApis.enableBackend=false") })
	reconfigure(t, "extensionApis.enableBackend=true")
	toBackend := strings.Replace(route("r", "www.example.com"), "{name: a, port: 80}",
		"{group: gateway.envoyproxy.io, kind: Backend, name: a}", 1)
	rotateTrust(t, toBackend, func(s scene, refs string) string {
		return fmt.Sprintf(askingBackend, refs, s.namespace) + "---" + fmt.Sprintf(askingGateway, refs, "")
	})
}

// rotateTrust rotates what is in each kind of object. The route leads to the backend, and secured are the objects that ask
// for certificates.
func rotateTrust(t *testing.T, route string, secured func(s scene, refs string) string) {
	t.Helper()
	certManager(t)
	for _, source := range trustSources {
		t.Run(source.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, "trust")
			t.Cleanup(func() { _, _ = kubectl("delete", "clustertrustbundle", s.namespace, "--ignore-not-found") }) // The cluster goes anyway.
			s.rotatesTrust(t, route, func(cas ...string) {
				t.Helper()
				s.apply(t, source.objects(t, s, cas...), secured(s, source.refs(s, cas...)))
			})
		})
	}
}

// rotatesTrust moves everything of a scene to another CA, and back where that must fail.
func (s scene) rotatesTrust(t *testing.T, route string, trust func(cas ...string)) {
	t.Helper()
	s.apply(t, twoCAs)
	for _, name := range []string{"ca-one", "ca-two", "served", "backend", "gateway", "client-one", "client-two"} {
		s.becomes(t, "certificate/"+name, condition(".status", "Ready"), "True")
	}
	s.admitsGateways(t, "one")
	trust("one")
	s.apply(t, inPod(t, "a", securedServer, "1", securedPorts, "backend", "clients"), route)
	at := address(t, s.namespace, "gw")
	one, two := s.client(t, "client-one"), s.client(t, "client-two")
	gets(t, one, at, "one for one, asked by one")
	gets(t, two, at, "")

	load, as := asksAs(t, at, one)
	trust("one", "two")
	s.admitsGateways(t, "one", "two")
	gets(t, two, at, "one for one two, asked by one")
	time.Sleep(2 * time.Second) // The listener has changed at once, and routes to a name wait a second for DNS (docs/xds.md).
	as(two)
	s.isIssuedBy(t, "backend", "two")
	gets(t, two, at, "two for one two, asked by one")
	s.isIssuedBy(t, "gateway", "two")
	gets(t, two, at, "two for one two, asked by two")
	trust("two")
	s.admitsGateways(t, "two")
	gets(t, two, at, "two for two, asked by two")
	gets(t, one, at, "")
	for _, certificate := range []string{"served", "backend", "gateway"} { // Of the same CA.
		s.renews(t, certificate)
	}
	time.Sleep(2 * time.Second) // What a renewal breaks may show later.
	load.noneFailed()

	for _, certificate := range []string{"backend", "gateway"} {
		s.isIssuedBy(t, certificate, "one")
		gets(t, two, at, "503")
		s.isIssuedBy(t, certificate, "two")
		gets(t, two, at, "two for two, asked by two")
	}
}

// authorities are the certificates of CAs.
func (s scene) authorities(t *testing.T, cas ...string) string {
	t.Helper()
	var all strings.Builder
	for _, ca := range cas {
		all.WriteString(s.certificateOf(t, "ca-"+ca))
	}
	return all.String()
}

// bundleInConfigMap is what trust-manager writes for Bundle "trusted" with the target {configMap: {key: ca.crt}}.
func bundleInConfigMap(authorities string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: trusted, labels: {trust.cert-manager.io/bundle: trusted}}\ndata:\n  ca.crt: |\n    " +
		strings.ReplaceAll(strings.TrimSpace(authorities), "\n", "\n    ") + "\n"
}

// admitsGateways sets the CAs by which the backend judges its clients.
func (s scene) admitsGateways(t *testing.T, cas ...string) {
	t.Helper()
	s.apply(t, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: clients}\nstringData:\n  ca.crt: |\n    %s\n",
		strings.ReplaceAll(strings.TrimSpace(s.authorities(t, cas...)), "\n", "\n    ")))
}

// isIssuedBy lets cert-manager issue a certificate by another issuer, and waits until its Secret has it.
func (s scene) isIssuedBy(t *testing.T, certificate, issuer string) {
	t.Helper()
	s.kubectl(t, "patch", "certificate", certificate, "--type=merge", "-p", fmt.Sprintf(`{"spec": {"issuerRef": {"name": %q}}}`, issuer))
	s.becomes(t, "secret/"+certificate, `{.metadata.annotations.cert-manager\.io/issuer-name}`, issuer)
}

// client makes a new connection with a client certificate for each request.
func (s scene) client(t *testing.T, secret string) *http.Client {
	t.Helper()
	key, err := s.secretData(secret, "tls.key")
	must(t, "", err)
	pair, err := tls.X509KeyPair([]byte(s.certificateOf(t, secret)), []byte(key))
	must(t, "", err)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{
			ServerName: "www.example.com", InsecureSkipVerify: true,
			// The certificate is sent even if the server asks for those of other CAs.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
		},
	}}
}

// gets waits until a client gets an answer three times in a row: what the backend says, a status other than 200, or "" for a
// client that is not let in.
func gets(t *testing.T, client *http.Client, at, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the client gets %q", want), func() error {
		for range 3 {
			if got, err := answerTo(client, at); got != want {
				return fmt.Errorf("it gets %q: %w", got, err)
			}
		}
		return nil
	})
}

// answerTo is what a client gets, as gets wants it. Everything but an answer of the backend is an error too.
func answerTo(client *http.Client, at string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, "https://"+at+"/", nil)
	if err != nil {
		return "", err
	}
	request.Host = "www.example.com"
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		return fmt.Sprint(response.StatusCode), fmt.Errorf("answered %d: %s", response.StatusCode, body)
	}
	return string(body), err
}

// asksAs sends requests of a client, which may become another one, until the load is ended.
func asksAs(t *testing.T, at string, client *http.Client) (load *handshakes, as func(*http.Client)) {
	t.Helper()
	var current atomic.Pointer[http.Client]
	current.Store(client)
	load = &handshakes{t: t, end: make(chan struct{}), serials: map[string]bool{}}
	for range 2 {
		load.running.Go(func() { load.repeat(func() (string, error) { return answerTo(current.Load(), at) }) })
	}
	return load, current.Store
}
