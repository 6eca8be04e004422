package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("GODEBUG", "rsa1024min=0") // Keys that are too short are made here on purpose.
	os.Exit(m.Run())
}

// issuer is a CA for tests. Its certificates are valid for a day, from an hour ago.
type issuer struct {
	tb   testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newIssuer(tb testing.TB) *issuer {
	tb.Helper()
	a := &issuer{tb: tb, key: p256(tb)}
	a.cert = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true},
		&a.key.PublicKey)
	return a
}

func p256(tb testing.TB) *ecdsa.PrivateKey { return curve(tb, elliptic.P256()) }

func curve(tb testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func rsaKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func edwards(tb testing.TB) ed25519.PrivateKey {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func (a *issuer) sign(template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	a.tb.Helper()
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.tb.Fatal(err)
	}
	template.SerialNumber = number
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(23*time.Hour)
	}
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.tb.Fatal(err)
	}
	return c
}

// authority is a CA that this one has issued.
func (a *issuer) authority(name string) *issuer {
	key := p256(a.tb)
	return &issuer{tb: a.tb, key: key, cert: a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true,
		BasicConstraintsValid: true,
	}, &key.PublicKey)}
}

// leaf is a server certificate, modified by the test.
func (a *issuer) leaf(key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{"www.example.com"}}
	if change != nil {
		change(template)
	}
	return a.sign(template, key.Public())
}

func chainPEM(chain ...*x509.Certificate) (text string) {
	for _, c := range chain {
		text += block("CERTIFICATE", c.Raw)
	}
	return text
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func keyPEM(tb testing.TB, key crypto.PrivateKey) string {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func sec1(tb testing.TB, key *ecdsa.PrivateKey) []byte {
	tb.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// demandStaple makes the certificate require an OCSP response.
func demandStaple(c *x509.Certificate) {
	value, _ := asn1.Marshal([]int{5}) // status_request; integers always encode.
	c.ExtraExtensions = []pkix.Extension{{Id: tlsFeature, Value: value}}
}

// staple is an OCSP response for the certificate, modified by the test.
func (a *issuer) staple(c *x509.Certificate, change func(*ocsp.Response)) []byte {
	a.tb.Helper()
	template := ocsp.Response{
		Status: ocsp.Good, SerialNumber: c.SerialNumber, ThisUpdate: time.Now().Add(-time.Hour),
		NextUpdate: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(&template)
	}
	der, err := ocsp.CreateResponse(a.cert, a.cert, template, a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	return der
}
