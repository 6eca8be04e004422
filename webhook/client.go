package webhook

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
)

// Clients are the clients that may ask for a verdict: the API server, if it sends a client certificate, and the control
// plane itself for its self-test, which sends its serving certificate. Verdicts contain names of objects in all
// namespaces, so they are not for everybody.
type Clients struct {
	// Authorities are the CA certificates that verify the client certificate of the API server.
	Authorities *x509.CertPool
	// Own are the CA certificates (PEM) that verify the control plane's serving certificate for Name.
	Own  func() []byte
	Name string
}

var errNoCertificate = errors.New("no client certificate: configure the API server to show one to webhooks, or set no CA for clients")

// admit returns an error if a request comes from another client. Nil admits everybody.
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
