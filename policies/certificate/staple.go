package certificate

import (
	"crypto/x509"
	"fmt"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Staple is an OCSP response that Envoy sends to clients together with the certificate (RFC 6066, section 8).
type Staple struct {
	// NextUpdate is the end of its validity; zero if it has none. Envoy does not send an older response.
	NextUpdate time.Time
	// Required reports whether clients reject the certificate without it.
	Required bool
}

func (s *Staple) equal(o *Staple) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Required == o.Required && s.NextUpdate.Equal(o.NextUpdate)
}

func (s *Staple) end() time.Time { return s.NextUpdate.Add(time.Second) }

func parseStaple(der []byte, leaf *x509.Certificate) (*Staple, error) {
	if len(der) > maxStaple {
		return nil, tooLong(StapleKey, len(der), maxStaple, "store one OCSP response for the certificate there, in DER")
	}
	response, err := ocsp.ParseResponse(der, nil)
	if err != nil {
		return nil, fmt.Errorf("has a %s that is not a valid OCSP response in DER: fetch a new one or remove it", StapleKey)
	}
	if response.SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		return nil, fmt.Errorf("has a %s for a certificate with serial number %d, but %s has number %d: fetch the response of this one, or remove it", StapleKey, response.SerialNumber, ChainKey, leaf.SerialNumber)
	}
	return &Staple{NextUpdate: response.NextUpdate, Required: mustStaple(leaf)}, nil
}
