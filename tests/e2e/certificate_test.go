package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// newPair makes a self-signed certificate and its key, in PEM.
func newPair(t *testing.T, serial int64) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"tls.example.com", "*.example.com"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
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

func secret(name string, certificate, key []byte) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: default}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: %s\n  tls.key: %s\n",
		name, base64.StdEncoding.EncodeToString(certificate), base64.StdEncoding.EncodeToString(key))
}

func httpsGateway(name, secret string) string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %s, namespace: default}
spec:
  gatewayClassName: eg
  listeners:
  - {name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: %s}]}}
`, name, secret)
}

// served is the serial number of the certificate that is served, once it is the wanted one.
func served(t *testing.T, at string, want int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("certificate %d is served", want), func() error {
		conn, err := tls.Dial("tcp", at+":443", &tls.Config{ServerName: "tls.example.com", InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer conn.Close()
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != want {
			return fmt.Errorf("certificate %d", got)
		}
		return nil
	})
}

// TestCertificates: a key that does not belong to its certificate is refused where a listener names it and where a
// listener uses it already; a renewed certificate is served; one that vanishes stays with the running Envoys, and
// status says so.
func TestCertificates(t *testing.T) {
	first, firstKey := newPair(t, 1)
	second, secondKey := newPair(t, 2)
	out, err := apply(secret("mixed-up", first, secondKey))
	must(t, out, err) // No listener uses it yet.
	out, err = apply(httpsGateway("refused", "mixed-up"))
	if err == nil || !strings.Contains(out,
		"spec.listeners[0].tls.certificateRefs[0]: Secret default/mixed-up has a tls.key that does not belong to the certificate") {
		t.Errorf("a Gateway that names a broken Secret: %v: %s", err, out)
	}

	out, err = apply(secret("used", first, firstKey) + "---\n" + httpsGateway("tls", "used"))
	must(t, out, err)
	t.Cleanup(func() { _, _ = kubectl("delete", "gateway", "tls") }) // The cluster goes anyway.
	at := address(t, "default", "tls")
	served(t, at, 1)
	out, err = apply(secret("used", first, secondKey))
	if err == nil || !strings.Contains(out, "does not belong to the certificate") {
		t.Errorf("breaking a Secret in use: %v: %s", err, out)
	}
	out, err = apply(secret("used", second, secondKey))
	must(t, out, err)
	served(t, at, 2)

	out, err = kubectl("delete", "secret", "used")
	must(t, out, err)
	eventually(t, "the listener says that its certificate is gone", func() error {
		out, err := kubectl("get", "gateway", "tls", "-o",
			`jsonpath={.status.listeners[0].conditions[?(@.type=="ResolvedRefs")].reason}`)
		if out != "InvalidCertificateRef" {
			return fmt.Errorf("ResolvedRefs: %q %w", out, err)
		}
		return nil
	})
	served(t, at, 2)
}

// TestRevokedGrantEndsACertificate: a certificate of another namespace is served as long as its owner permits it, and
// by running Envoys no longer either.
func TestRevokedGrantEndsACertificate(t *testing.T) {
	t.Parallel()
	owner, s := newScene(t, "cert-owner"), newScene(t, "cert-user")
	certificate, key := newPair(t, 7)
	owner.apply(t, strings.ReplaceAll(secret("lent", certificate, key), "namespace: default", "namespace: "+owner.namespace), fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: lend}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: %s}]
  to: [{group: "", kind: Secret}]
`, s.namespace))
	s.apply(t, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: lent, namespace: %s}]}}
`, owner.namespace))
	at := address(t, s.namespace, "gw")
	served(t, at, 7)
	owner.kubectl(t, "delete", "referencegrant", "lend")
	eventually(t, "the certificate is not served any more", func() error {
		conn, err := tls.Dial("tcp", at+":443", &tls.Config{ServerName: "tls.example.com", InsecureSkipVerify: true})
		if err == nil {
			_ = conn.Close() // It should not be there.
			return fmt.Errorf("it still is")
		}
		return nil
	})
	s.becomes(t, "gateway/gw", reason(".status.listeners[1]", "ResolvedRefs"), "RefNotPermitted")
	s.becomes(t, "gateway/gw", condition(".status.listeners[0]", "Programmed"), "True")
}
