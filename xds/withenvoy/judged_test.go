package withenvoy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/envoytest"
	"gatehouse/policies/certificate"
	"gatehouse/translator"
)

// handshake opens a connection for a host and returns the state of the TLS connection.
func handshake(port int, host string) (*tls.ConnectionState, error) {
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port),
		&tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	state := conn.ConnectionState()
	return &state, nil
}

// issueFor issues a certificate of a server to a key of any kind.
func (a *authority) issueFor(key crypto.Signer, host string, until time.Time) tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), DNSNames: []string{host},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestEveryTakenCertificateIsServed: accepted certificates complete a handshake, all at once on one port: each kind of
// key, text around the PEM blocks, and an expired certificate, which clients judge themselves.
func TestEveryTakenCertificateIsServed(t *testing.T) {
	c, ca := startTranslated(t, false), newAuthority(t)
	curve := func(of elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(of, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g := c.gateway(false)
	objects, want := []translator.Object{g}, map[string][]byte{}
	serve := func(name string, key crypto.Signer, until time.Time, change func(*corev1.Secret)) {
		host := name + ".example.com"
		pair := ca.issueFor(key, host, until)
		secret := c.secret(name, pair)
		change(secret)
		objects, want[host] = append(objects, secret), pair.Certificate[0]
		g.Spec.Listeners = append(g.Spec.Listeners, gwapiv1.Listener{
			Name: gwapiv1.SectionName(name), Port: 443, Protocol: gwapiv1.HTTPSProtocolType,
			Hostname: new(gwapiv1.Hostname(host)),
			TLS:      &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: gwapiv1.ObjectName(name)}}},
		})
	}
	as := func(*corev1.Secret) {}
	later := time.Now().Add(time.Hour)
	serve("rsa", long, later, as)
	serve("p256", curve(elliptic.P256()), later, as)
	serve("p384", curve(elliptic.P384()), later, as)
	serve("p521", curve(elliptic.P521()), later, as)
	serve("ed25519", edwards, later, as)
	serve("expired", curve(elliptic.P256()), time.Now().Add(-time.Hour), as)
	serve("text", curve(elliptic.P256()), later, func(s *corev1.Secret) {
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			s.Data[key] = bytes.ReplaceAll(slices.Concat([]byte("Bag Attributes\n    a: b\n"), s.Data[key],
				[]byte("# the end\n")), []byte("\n"), []byte("\r\n"))
		}
	})
	c.apply(objects...)
	for host, der := range want {
		envoytest.WaitFor(t, "the certificate of "+host, func() bool {
			state, err := handshake(10443, host)
			return err == nil && bytes.Equal(state.PeerCertificates[0].Raw, der)
		})
	}
}

// TestStaplesReachClients: clients get the OCSP response of a Secret in the handshake. An unusable one is omitted, and
// the certificate is served without it.
func TestStaplesReachClients(t *testing.T) {
	c, ca := startTranslated(t, false), newAuthority(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const host = "www.example.com"
	pair := ca.issueFor(key, host, time.Now().Add(time.Hour))
	staple := func(serial int64) []byte {
		der, err := ocsp.CreateResponse(ca.cert, ca.cert, ocsp.Response{
			Status: ocsp.Good, SerialNumber: big.NewInt(serial), ThisUpdate: time.Now().Add(-time.Minute),
			NextUpdate: time.Now().Add(time.Hour),
		}, ca.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	good := staple(7)
	stored := func(response []byte) *corev1.Secret {
		s := c.secret("server", pair)
		s.Data[certificate.StapleKey] = response
		return s
	}
	shows := func(want []byte) {
		t.Helper()
		var err error
		envoytest.WaitFor(t, fmt.Sprintf("a handshake with %d bytes of OCSP", len(want)), func() bool {
			var state *tls.ConnectionState
			state, err = handshake(10443, host)
			return err == nil && bytes.Equal(state.OCSPResponse, want)
		})
	}
	c.apply(c.httpsGateway(gwapiv1.Listener{Name: "https", Port: 443}), stored(good))
	shows(good)
	c.apply(stored(staple(8))) // The response of another certificate, which Envoy would reject together with this one.
	shows(nil)
	c.apply(stored(good))
	shows(good)
}
