// Package certificate judges the TLS content of Secrets and ConfigMaps: certificate chains with their keys, CA
// certificates and OCSP responses. Envoy accepts everything that the package accepts, and rejects, or cannot use,
// everything that it rejects. All functions depend only on bytes and on a given time. Sizes are checked before anything
// is parsed, so that no Secret costs others more than a few milliseconds.
//
// The text of an error fits behind "Secret namespace/name ": it names the key, the value and how to fix it.
package certificate

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Keys of a Secret of type kubernetes.io/tls.
const (
	ChainKey   = "tls.crt"
	PrivateKey = "tls.key"
	StapleKey  = "tls.ocsp-staple"
)

// The limits: sizes are in bytes, of the PEM text for PEM. Each limit is several times larger than what public
// authorities issue.
const (
	maxChain     = 128 << 10
	maxKey       = 16 << 10
	maxStaple    = 16 << 10
	maxBundle    = 512 << 10
	maxInChain   = 32
	maxInBundle  = 1024
	minRSA       = 2048 // Bits; Envoy accepts no fewer.
	maxRSA       = 8192 // Bits; BoringSSL accepts no more.
	maxNameWords = 4
)

// Pair describes a certificate chain whose key is present.
type Pair struct {
	// Names are the DNS names that the certificate is for, in lower case, sorted, each once.
	Names []string
	// Subject and Issuer are the distinguished names of the certificate, as RFC 2253 writes them.
	Subject, Issuer string
	// NotBefore and NotAfter are the first and the last second in which clients accept it.
	NotBefore, NotAfter time.Time
	// Staple is its OCSP response, nil if there is none.
	Staple *Staple
	// WrongStaple says why its OCSP response cannot be used; empty if it can.
	WrongStaple string
	// WrongOrder says what is wrong with the order of the chain after the certificate, which is served as it is; empty
	// if nothing is wrong.
	WrongOrder string
	// WrongChain says that some clients find no way from the certificate to a CA for another reason than the order; empty
	// if nothing is known of that.
	WrongChain string
	// Temporary reports whether cert-manager made it to bridge the time until the real one is issued. No client trusts it.
	Temporary bool
}

// Equal reports whether the two are equal.
func (p *Pair) Equal(o *Pair) bool {
	if p == nil || o == nil {
		return p == o
	}
	return slices.Equal(p.Names, o.Names) && p.Subject == o.Subject && p.Issuer == o.Issuer &&
		p.NotBefore.Equal(o.NotBefore) && p.NotAfter.Equal(o.NotAfter) &&
		p.Staple.equal(o.Staple) && p.WrongStaple == o.WrongStaple && p.WrongOrder == o.WrongOrder &&
		p.WrongChain == o.WrongChain &&
		p.Temporary == o.Temporary
}

// Parse checks the data of a Secret of type kubernetes.io/tls, except for checks that depend on the time and on the
// listener.
func Parse(data map[string][]byte) (*Pair, error) {
	chain, err := parseChain(data[ChainKey])
	if err != nil {
		return nil, err
	}
	public, err := publicKey(data[PrivateKey])
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	if err := belongs(chain, public); err != nil {
		return nil, err
	}
	if err := checkUsage(leaf); err != nil {
		return nil, err
	}
	p := &Pair{
		Names: names(leaf), Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, WrongOrder: misplaced(chain),
		Temporary: temporary(leaf),
	}
	if p.WrongOrder == "" {
		p.WrongChain = cmp.Or(unanchored(chain, data[AuthoritiesKey]), incomplete(chain))
	}
	if response := data[StapleKey]; len(response) > 0 {
		if p.Staple, err = parseStaple(response, leaf); err != nil {
			p.WrongStaple = err.Error()
		}
	}
	if p.Staple == nil && mustStaple(leaf) {
		if p.WrongStaple != "" {
			return nil, errors.New(p.WrongStaple)
		}
		return nil, fmt.Errorf("has a certificate that asks for an OCSP response (must-staple) and has none: put the response, in DER, under %s, or issue the certificate without that demand", StapleKey)
	}
	return p, nil
}

// temporary reports whether cert-manager made a certificate for as long as the real one is not issued, as the annotation
// cert-manager.io/issue-temporary-certificate asks: a CA with this name, which nobody keeps, signs it, and the serial
// number in its subject is always the same (pkg/util/pki of cert-manager).
func temporary(leaf *x509.Certificate) bool {
	return leaf.Issuer.CommonName == "cert-manager.local" && leaf.Subject.SerialNumber == "1234567890"
}

func parseChain(text []byte) ([]*x509.Certificate, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("has no %s: put the PEM certificate chain there", ChainKey)
	}
	if len(text) > maxChain {
		return nil, tooLong(ChainKey, len(text), maxChain, "keep the certificate and its intermediates only")
	}
	chain, err := certificates(ChainKey, text, maxInChain)
	if err == nil && len(chain) == 0 {
		err = fmt.Errorf("has a %s without any PEM block CERTIFICATE: put the PEM certificate chain there", ChainKey)
	}
	return chain, err
}

// certificates parses all certificates of a PEM text. Text outside of the blocks is not part of the data (RFC 7468,
// section 2).
func certificates(key string, text []byte, most int) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for blocks := (blocks{key: key, rest: text}); ; {
		block, err := blocks.next()
		if err != nil || block == nil {
			return all, err
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, fmt.Errorf("has a PEM block %q in %s: leave only CERTIFICATE blocks without headers there", block.Type,
				key)
		}
		if len(all) == most {
			return nil, fmt.Errorf("has more than %d certificates in %s: remove those that nobody needs", most, key)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("has a certificate in %s that cannot be parsed (%w): issue a new one", key, err)
		}
		all = append(all, c)
	}
}

// belongs returns an error if the first certificate of the chain does not belong to the key.
func belongs(chain []*x509.Certificate, public crypto.PublicKey) error {
	i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return samePublic(c.PublicKey, public) })
	switch {
	case i > 0:
		return fmt.Errorf("has its certificates in the wrong order: the one that %s belongs to is number %d in %s: put it first, and each issuer behind what it issued", PrivateKey, i+1, ChainKey)
	case i < 0:
		return fmt.Errorf("has a %s that does not belong to the certificate in %s: store the two of one issuance", PrivateKey,
			ChainKey)
	}
	return nil
}

func samePublic(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

// checkUsage returns an error if Envoy cannot sign handshakes: if an ECDSA certificate has a key usage, BoringSSL
// requires digitalSignature.
func checkUsage(leaf *x509.Certificate) error {
	if _, isECDSA := leaf.PublicKey.(*ecdsa.PublicKey); isECDSA && leaf.KeyUsage != 0 &&
		leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return fmt.Errorf("has a certificate in %s whose key usage lacks digitalSignature, so that its key may not serve TLS: issue it as a certificate of a server", ChainKey)
	}
	return nil
}

// names are the names that clients compare with the host: the subject alternative names, or the common name if there
// are none.
func names(c *x509.Certificate) []string {
	found := c.DNSNames
	if len(found) == 0 && c.Subject.CommonName != "" {
		found = []string{c.Subject.CommonName}
	}
	lower := make([]string, len(found))
	for i, n := range found {
		lower[i] = strings.ToLower(n)
	}
	slices.Sort(lower)
	return slices.Compact(lower)
}

// tlsFeature is the extension with which a certificate requires an OCSP response (RFC 7633).
var tlsFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

func mustStaple(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if e.Id.Equal(tlsFeature) {
			return true
		}
	}
	return false
}

func tooLong(key string, size, most int, wayOut string) error {
	return fmt.Errorf("has a %s of %d bytes, and at most %d are taken: %s", key, size, most, wayOut)
}
