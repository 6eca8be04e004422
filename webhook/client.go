package webhook

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
)

// Clients are those who may ask for a verdict: the API server, where it shows a certificate of its own, and the control plane itself for its
// self-test, which shows the certificate that it serves. Verdicts tell of objects of all namespaces, so they are not for everybody.
type Clients struct {
	// Authorities vouch for the client certificate of the API server.
	Authorities *x509.CertPool
	// Own are the certificates (PEM) that vouch for what the control plane serves as Name.
	Own  func() []byte
	Name string
}

var errNoCertificate = errors.New("no client certificate: configure the API server to show one to webhooks, or set no CA for clients")

// admit is an error if a request comes from nobody of them. Nil admits everybody.
func (c *Clients) admit(r *http.Request) error {
	if c == nil {
		return nil
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return errNoCertificate
	}
	leaf, between := r.TLS.PeerCertificates[0], x509.NewCertPool()
	for _, certificate := range r.TLS.PeerCertificates[1:] {
		between.AddCert(certificate)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.Authorities, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err == nil {
		return nil
	}
	own := x509.NewCertPool()
	own.AppendCertsFromPEM(c.Own())
	if _, failed := leaf.Verify(x509.VerifyOptions{Roots: own, Intermediates: between, DNSName: c.Name}); failed == nil {
		return nil
	}
	return fmt.Errorf("the client certificate of %q is not good: %w", leaf.Subject, err)
}
