package clienttls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestRevocations: lists of revoked certificates are in PEM, one or more, and nothing else.
func TestRevocations(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer := &x509.Certificate{KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte("key")}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Unix(0, 0), NextUpdate: time.Unix(1, 0),
	}, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	list := string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	for text, want := range map[string]string{
		list:                                  "",
		"# of one CA\n" + list + list:         "",
		"":                                    "has no list",
		string(der):                           "has no list",
		list[:len(list)/2]:                    "cannot be read",
		strings.Repeat(list, maxLists+1):      "64 are the most",
		strings.Repeat("#", maxRevocations+1): "are the most",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})):   "leave only blocks X509 CRL",
		string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der[:10]})): "cannot be parsed",
	} {
		err := checkRevocations([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}
