package webhook

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// signer makes certificates for a usage and a name.
type signer struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	s := &signer{}
	made := s.sign(t, "", 0)
	s.key, s.certificate = made.PrivateKey.(*ecdsa.PrivateKey), made.Leaf
	return s
}

func (s *signer) sign(t *testing.T, name string, usage x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
	}
	parent, by := template, key
	if s.certificate == nil {
		template.IsCA, template.KeyUsage, template.Subject.CommonName = true, x509.KeyUsageCertSign, "authority"
	} else {
		parent, by = s.certificate, s.key
		template.DNSNames, template.ExtKeyUsage, template.KeyUsage = []string{name}, []x509.ExtKeyUsage{usage},
			x509.KeyUsageDigitalSignature
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestVerdictsAreForTheAPIServer: if a client certificate is required, only the API server and the control plane's own
// self-test get a verdict. Otherwise no client is asked for one.
func TestVerdictsAreForTheAPIServer(t *testing.T) {
	const own = "gatehouse.gatehouse-system.svc"
	cluster, plane, others := newSigner(t), newSigner(t), newSigner(t)
	authorities := x509.NewCertPool()
	authorities.AddCert(cluster.certificate)
	asked := serve(t, Options{Trier: newWorld(t, nil), Clients: &Clients{
		Authorities: authorities, Name: own,
		Own: func() []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: plane.certificate.Raw})
		},
	}})
	open := serve(t, Options{Trier: newWorld(t, nil)})
	review := selfTestReview()
	for name, c := range map[string]struct {
		shown *tls.Certificate
		fits  bool
	}{
		"no certificate": {},
		"the API server's": {
			cluster.sign(t, "kube-apiserver", x509.ExtKeyUsageClientAuth),
			true,
		},
		"a server's of the same authority": {
			cluster.sign(t, "kubelet", x509.ExtKeyUsageServerAuth),
			false,
		},
		"the control plane's": {plane.sign(t, own, x509.ExtKeyUsageServerAuth), true},
		"another's of the control plane's CA": {
			plane.sign(t, "other.svc", x509.ExtKeyUsageServerAuth),
			false,
		},
		"one that names the API server, of another authority": {
			others.sign(t, "kube-apiserver", x509.ExtKeyUsageClientAuth),
			false,
		},
	} {
		for _, s := range []*served{asked, open} {
			config := &tls.Config{RootCAs: pool(s.ca), MinVersion: tls.VersionTLS12}
			if c.shown != nil {
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.shown, nil }
			}
			s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
			for _, path := range []string{ValidatePath, MutatePath} {
				want := http.StatusForbidden
				if c.fits || s == open {
					want = http.StatusOK
				}
				status, body := s.send(t, path, review)
				if status != want || want == http.StatusForbidden && !strings.Contains(string(body), "client certificate") {
					t.Errorf("%s with %s: %d %s, want %d", path, name, status, body, want)
				}
			}
		}
	}
}
