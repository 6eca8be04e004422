package certificate

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
)

// misplaced says which certificate of a chain did not issue the previous one, in a text that fits behind "Secret
// namespace/name "; empty if each did. Envoy sends the chain as it is, and TLS 1.2 requires that order from servers
// (RFC 5246, section 7.4.2; RFC 8446, section 4.4.2, allows clients to accept others). Several certificates of one
// issuer, from different authorities, may follow each other. Names and key identifiers are compared, not signatures.
func misplaced(chain []*x509.Certificate) string {
	issued := chain[:1]
	for i, c := range chain[1:] {
		if bytes.Equal(c.RawSubject, chain[i].RawSubject) {
			issued = append(issued[:len(issued):len(issued)], c)
			continue
		}
		if !slices.ContainsFunc(issued, func(subject *x509.Certificate) bool { return issuedBy(subject, c) }) {
			return fmt.Sprintf("has its certificates in the wrong order: number %d in %s, %q, did not issue the one before it, so that some clients find no way to a root: put each issuer behind what it issued, and leave out what issued none of them",
				i+2, ChainKey, c.Subject)
		}
		issued = chain[i+1 : i+2]
	}
	return ""
}

func issuedBy(subject, issuer *x509.Certificate) bool {
	sameKey := len(subject.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0 ||
		bytes.Equal(subject.AuthorityKeyId, issuer.SubjectKeyId)
	return sameKey && bytes.Equal(subject.RawIssuer, issuer.RawSubject)
}
