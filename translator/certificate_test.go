package translator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// pairs are the contents of two good TLS Secrets, made anew in each run.
var pairs = []map[string][]byte{newPair(), newPair()}

func newPair() map[string][]byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"www.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

func TestCheckKeyPair(t *testing.T) {
	for name, c := range map[string]struct{ chain, private, want string }{
		"good":             {string(pairs[0]["tls.crt"]), string(pairs[0]["tls.key"]), ""},
		"no certificate":   {"", string(pairs[0]["tls.key"]), "has no tls.crt"},
		"no key":           {string(pairs[0]["tls.crt"]), "", "has no tls.key"},
		"not PEM":          {"hello", string(pairs[0]["tls.key"]), "not PEM throughout"},
		"key in tls.crt":   {string(pairs[0]["tls.key"]), string(pairs[0]["tls.key"]), `PEM block "PRIVATE KEY"`},
		"key is not PEM":   {string(pairs[0]["tls.crt"]), "hello", "tls.key that is not PEM"},
		"another's key":    {string(pairs[0]["tls.crt"]), string(pairs[1]["tls.key"]), "does not belong to the certificate"},
		"garbage in block": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", string(pairs[0]["tls.key"]), "cannot be parsed"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkKeyPair([]byte(c.chain), []byte(c.private))
			if c.want == "" && err == nil {
				return
			}
			if c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("checkKeyPair: %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzCheckKeyPair(f *testing.F) {
	f.Add(pairs[0]["tls.crt"], pairs[0]["tls.key"])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), []byte{})
	f.Fuzz(func(_ *testing.T, chain, private []byte) { _ = checkKeyPair(chain, private) })
}
