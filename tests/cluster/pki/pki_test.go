package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServerCertificateIsGoodForItsNames(t *testing.T) {
	authority := newAuthority(t)
	pair, err := authority.Server("server", []string{"kubernetes.default.svc"},
		[]netip.Addr{netip.MustParseAddr("10.96.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, pair)
	for name, good := range map[string]bool{
		"kubernetes.default.svc": true, "10.96.0.1": true, "other.example.com": false,
		"10.96.0.2": false,
	} {
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: roots(t, authority), DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if good != (err == nil) {
			t.Errorf("verifying for %s: %v", name, err)
		}
	}
}

func TestClientCertificateNamesUserAndGroups(t *testing.T) {
	authority := newAuthority(t)
	pair, err := authority.Client("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, pair)
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots:     roots(t, authority),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		t.Error(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots(t, newAuthority(t))}); err == nil {
		t.Error("another CA vouches for the certificate as well")
	}
	if diff := cmp.Diff([]string{"system:masters"}, leaf.Subject.Organization); diff != "" ||
		leaf.Subject.CommonName != "admin" {
		t.Errorf("user %q, groups (-want +got):\n%s", leaf.Subject.CommonName, diff)
	}
}

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	authority, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func parse(t *testing.T, pair Pair) *x509.Certificate {
	t.Helper()
	loaded, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Leaf
}

func roots(t *testing.T, authority *Authority) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority.Certificate) {
		t.Fatal("the CA's certificate is not PEM")
	}
	return pool
}
