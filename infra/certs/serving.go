package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Serving is the content of the Secret. It is immutable.
type Serving struct {
	// Leaf is the serving certificate with its chain and key.
	Leaf tls.Certificate
	// cas are the trusted certificates; the first one signs. caKey is its key, nil if somebody else keeps it.
	cas   []*x509.Certificate
	caKey crypto.Signer
	// caBundle is ca.crt of the Secret.
	caBundle []byte
	// from is the Secret to which the certificate was handed over, empty for the own CA. since is the time of the last step
	// of a handover, zero if there was none.
	from  string
	since time.Time
	// waiting is why the certificate of Settings.From is not used; nil if it is, or if none is asked for.
	waiting error
}

// CABundle returns the certificates (PEM) that clients must trust.
func (s *Serving) CABundle() []byte { return bytes.Clone(s.caBundle) }

// ours reports whether the Secret may be written to.
func (s *Serving) ours() bool { return s.caKey != nil || s.from != "" }

// parse parses the data of the Secret. It returns an error if parts are missing, invalid, or do not belong together.
func parse(data map[string][]byte) (*Serving, error) {
	if len(data[corev1.TLSCertKey]) == 0 && len(data[caCertKey]) == 0 {
		return nil, errNothing
	}
	leaf, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	cas, err := parseCertificates(data[caCertKey])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caCertKey, err)
	}
	s := &Serving{Leaf: leaf, cas: cas, caBundle: bytes.Clone(data[caCertKey])}
	if len(data[caKeyKey]) == 0 {
		return s, nil
	}
	pair, err := tls.X509KeyPair(encodeCertificates(cas[0].Raw), data[caKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caKeyKey, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T cannot sign", caKeyKey, pair.PrivateKey)
	}
	s.caKey = key
	return s, nil
}

// data is the Secret's data.
func (s *Serving) data() (map[string][]byte, error) {
	key, err := encodeKey(s.Leaf.PrivateKey)
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{
		caCertKey:               s.caBundle,
		corev1.TLSCertKey:       encodeCertificates(s.Leaf.Certificate...),
		corev1.TLSPrivateKeyKey: key,
	}
	if s.caKey == nil {
		return data, nil
	}
	data[caKeyKey], err = encodeKey(s.caKey)
	return data, err
}

// renew returns the certificates to use from now on: the given ones, unless renewal is due or replace is set. A CA is
// renewed after two thirds of its lifetime. The old one stays in the bundle until it expires, and signs its successor,
// so that clients that do not know the new one yet trust its certificates.
func renew(old *Serving, s Settings, now time.Time, replace bool) (*Serving, error) {
	if old == nil || old.caKey == nil {
		return first(old, s, now)
	}
	if replace || due(old.cas[0], now) {
		return succeed(old, s, now)
	}
	if fits(old, s.DNSNames, now) {
		return old, nil
	}
	return issue(&Serving{cas: old.cas, caKey: old.caKey, caBundle: old.caBundle}, crossSigned(old, now), s, now)
}

// first makes a CA and a certificate. CAs that were trusted before stay trusted.
func first(old *Serving, s Settings, now time.Time) (*Serving, error) {
	ca, key, err := newCA(s.CALifetime, now)
	if err != nil {
		return nil, err
	}
	next := &Serving{cas: []*x509.Certificate{ca}, caKey: key}
	if old != nil {
		next.cas = append(next.cas, valid(old.cas, now)...)
	}
	next.caBundle = encodeCertificates(raw(next.cas)...)
	return issue(next, nil, s, now)
}

// succeed makes a CA that the old one signs.
func succeed(old *Serving, s Settings, now time.Time) (*Serving, error) {
	next, err := first(old, s, now)
	if err != nil {
		return nil, err
	}
	if !now.Before(old.cas[0].NotAfter) {
		return next, nil
	}
	cross, err := crossSign(next.cas[0], old.cas[0], old.caKey, now)
	if err != nil {
		return nil, err
	}
	next.Leaf.Certificate = append(next.Leaf.Certificate, cross.Raw)
	return next, nil
}

// issue adds a new leaf, followed by the certificates with which older CAs signed the current one.
func issue(next *Serving, cross [][]byte, s Settings, now time.Time) (*Serving, error) {
	leaf, key, err := newLeaf(s, next.cas[0], next.caKey, now)
	if err != nil {
		return nil, err
	}
	next.Leaf = tls.Certificate{
		Certificate: append([][]byte{leaf.Raw}, cross...),
		PrivateKey:  key,
		Leaf:        leaf,
	}
	return next, nil
}

// crossSigned are the certificates of the chain after the leaf that are still valid.
func crossSigned(s *Serving, now time.Time) [][]byte {
	var kept [][]byte
	for _, der := range s.Leaf.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil && now.Before(cert.NotAfter) {
			kept = append(kept, der)
		}
	}
	return kept
}

// fits reports whether the leaf is signed by the CA, has these names, and need not be renewed.
func fits(s *Serving, names []string, now time.Time) bool {
	leaf := s.Leaf.Leaf
	if leaf.CheckSignatureFrom(s.cas[0]) != nil || due(leaf, now) {
		return false
	}
	return !slices.ContainsFunc(names, func(name string) bool { return leaf.VerifyHostname(name) != nil })
}

// due reports whether two thirds of the certificate's lifetime are over, or it is not valid yet.
func due(cert *x509.Certificate, now time.Time) bool {
	life := cert.NotAfter.Sub(cert.NotBefore)
	return now.Before(cert.NotBefore) || now.After(cert.NotAfter.Add(-life/3))
}

func valid(certs []*x509.Certificate, now time.Time) []*x509.Certificate {
	return slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool { return now.After(c.NotAfter) })
}

func raw(certs []*x509.Certificate) [][]byte {
	list := make([][]byte, 0, len(certs))
	for _, c := range certs {
		list = append(list, c.Raw)
	}
	return list
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errNothing
	}
	return certs, nil
}

func encodeCertificates(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
