package e2e

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
	"net/http"
	"strings"
	"testing"
	"time"
)

// authority can issue certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, serial int64) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: fmt.Sprintf("authority %d", serial)}, BasicConstraintsValid: true, IsCA: true,
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key}
}

// issue answers with a certificate and its key, in PEM.
func (a authority) issue(t *testing.T, serial int64, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// bundle is a ClusterTrustBundle of the authority.
func (a authority) bundle(t *testing.T, name string) string {
	t.Helper()
	return trustBundle(t, name, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})))
}

// trustBundle is a ClusterTrustBundle of certificates in PEM, in the version that the cluster serves.
func trustBundle(t *testing.T, name, certificates string) string {
	t.Helper()
	version := "v1beta1"
	if served, err := kubectl("get", "--raw", "/apis/certificates.k8s.io/v1"); strings.Contains(must(t, served, err),
		"clustertrustbundles") {
		version = "v1"
	}
	return fmt.Sprintf("apiVersion: certificates.k8s.io/%s\nkind: ClusterTrustBundle\nmetadata: {name: %s}\nspec:\n  trustBundle: |\n    %s\n",
		version, name, strings.ReplaceAll(strings.TrimSpace(certificates), "\n", "\n    "))
}

const securedBackend = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec:
      volumes: [{name: pair, secret: {secretName: backend}}]
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/conformance/echo-basic:v0.1.0
        ports: [{name: web, containerPort: 3000}]
        readinessProbe: {httpGet: {path: /health, port: web}, periodSeconds: 1}
        volumeMounts: [{name: pair, mountPath: /pair}]
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: TLS_SERVER_CERT, value: /pair/tls.crt}
        - {name: TLS_SERVER_PRIVKEY, value: /pair/tls.key}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: https, port: 80, targetPort: 8443}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: a}
spec:
  targetRefs: [{group: "", kind: Service, name: a}]
  validation: {hostname: backend.example.com, caCertificateRefs: [{group: certificates.k8s.io, kind: ClusterTrustBundle, name: %[1]s}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: certificates.k8s.io, kind: ClusterTrustBundle, name: %[1]s}]}}}}
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: server}]}}
`

// TestTrustBundle: backends and clients are checked with the CA certificates of a ClusterTrustBundle, those that it has
// when they connect. While it is not there nobody is trusted, and status says so.
func TestTrustBundle(t *testing.T) {
	t.Parallel()
	s := newScene(t, "bundle")
	first, second := newAuthority(t, 1), newAuthority(t, 2)
	bundle := s.namespace
	t.Cleanup(func() { _, _ = kubectl("delete", "clustertrustbundle", bundle) }) // The cluster goes anyway.
	in := func(manifest string) string {
		return strings.ReplaceAll(manifest, "namespace: default", "namespace: "+s.namespace)
	}
	backend, backendKey := first.issue(t, 3, "backend.example.com")
	server, serverKey := newPair(t, 4)
	out, err := apply(first.bundle(t, bundle))
	must(t, out, err)
	s.apply(t, in(secret("backend", backend, backendKey)), in(secret("server", server, serverKey)),
		fmt.Sprintf(securedBackend, bundle), route("r", "bundle.example.com"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET bundle.example.com/", http.StatusOK)
	clients := map[int64]authority{1: first, 2: second}
	letsIn(t, at, clients, 1)

	out, err = apply(second.bundle(t, bundle))
	must(t, out, err)
	letsIn(t, at, clients, 2)
	s.kubectl(t, "delete", "pods", "-l", "app=a") // Connections that exist go on.
	settles(t, at, "GET bundle.example.com/", http.StatusServiceUnavailable)
	s.becomes(t, "deployment/a", "{.status.readyReplicas}", "1")
	for range 10 {
		if a := asked(t, at, "GET bundle.example.com/"); a.code != http.StatusServiceUnavailable {
			t.Fatalf("a backend of another authority answers %d", a.code)
		}
	}

	out, err = kubectl("delete", "clustertrustbundle", bundle)
	must(t, out, err)
	settles(t, at, "GET bundle.example.com/", http.StatusInternalServerError)
	letsIn(t, at, clients, 0)
	s.becomes(t, "backendtlspolicy/a", reason(".status.ancestors[0]", "ResolvedRefs"), "InvalidCACertificateRef")
	s.becomes(t, "backendtlspolicy/a", reason(".status.ancestors[0]", "Accepted"), "NoValidCACertificate")
	s.becomes(t, "gateway/gw", reason(".status.listeners[1]", "ResolvedRefs"), "InvalidCACertificateRef")

	out, err = apply(first.bundle(t, bundle))
	must(t, out, err)
	settles(t, at, "GET bundle.example.com/", http.StatusOK)
	letsIn(t, at, clients, 1)
	s.becomes(t, "gateway/gw", condition(".status.listeners[1]", "ResolvedRefs"), "True")
}

// letsIn waits until the client of that authority is served over TLS, and no other.
func letsIn(t *testing.T, at string, clients map[int64]authority, trusted int64) {
	t.Helper()
	for serial, a := range clients {
		certificate, key := a.issue(t, 10+serial, "client.example.com")
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{
			ServerName: "bundle.example.com", InsecureSkipVerify: true,
			Certificates: []tls.Certificate{pair},
		}, DisableKeepAlives: true}
		client := &http.Client{Timeout: direct.Timeout, Transport: transport}
		eventually(t, fmt.Sprintf("client %d is served: %t", serial, serial == trusted), func() error {
			request, err := http.NewRequest(http.MethodGet, "https://"+at+"/", nil)
			if err != nil {
				return err
			}
			request.Host = "bundle.example.com"
			response, err := client.Do(request)
			if err == nil {
				_ = response.Body.Close() // The answer is of no interest.
			}
			if (err == nil) != (serial == trusted) {
				return fmt.Errorf("served: %t (%w)", err == nil, err)
			}
			return nil
		})
	}
}
