package certificate

import (
	"bytes"
	"crypto/x509"
	"fmt"
)

// Limits of the search for the CA: bytes of the CA certificates, and signatures that are checked.
const (
	maxAnchors    = 64 << 10
	maxSignatures = 100
)

// unanchored says that a chain leads to none of the CA certificates that its Secret has beside it, in a text that fits
// behind "Secret namespace/name "; empty if it does, if there are none, or if that cannot be said. Times do not matter.
func unanchored(chain []*x509.Certificate, bundle []byte) string {
	if len(bundle) == 0 || len(bundle) > maxAnchors {
		return ""
	}
	anchors, err := certificates(AuthoritiesKey, bundle, maxInBundle)
	if err != nil || len(anchors) == 0 {
		return ""
	}
	s := search{anchors: anchors, others: append(chain[1:len(chain):len(chain)], anchors...), left: maxSignatures}
	if s.leads(chain[0]) || s.left == 0 {
		return ""
	}
	return fmt.Sprintf("has a certificate that leads to no CA in its %s: put that of its issuer %q into %s, or correct %[1]s",
		AuthoritiesKey, chain[len(chain)-1].Issuer, ChainKey)
}

// search looks for a way from a certificate to an anchor.
type search struct {
	anchors, others []*x509.Certificate
	// seen are the certificates from which no way was found, and left is how many signatures may still be checked.
	seen []*x509.Certificate
	left int
}

func (s *search) leads(from *x509.Certificate) bool {
	if among(s.anchors, from) {
		return true
	}
	s.seen = append(s.seen, from)
	for _, c := range s.others {
		if s.left == 0 || among(s.seen, c) || !issuedBy(from, c) {
			continue
		}
		s.left--
		if from.CheckSignatureFrom(c) == nil && s.leads(c) {
			return true
		}
	}
	return false
}

func among(list []*x509.Certificate, c *x509.Certificate) bool {
	for _, other := range list {
		if bytes.Equal(other.Raw, c.Raw) {
			return true
		}
	}
	return false
}

// incomplete says that the chain lacks the certificate of an intermediate CA, in a text like that of unanchored; empty if
// it does not. Public CAs issue nothing from their roots, and certificates of theirs say where the issuer's is found (RFC
// 5280, section 4.2.2.1).
func incomplete(chain []*x509.Certificate) string {
	leaf := chain[0]
	if len(chain) > 1 || len(leaf.IssuingCertificateURL) == 0 || bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
		return ""
	}
	return fmt.Sprintf("has a certificate without that of its issuer %q, which some clients need: put it behind the certificate in %s; it is at %s",
		leaf.Issuer, ChainKey, Listed(leaf.IssuingCertificateURL))
}
