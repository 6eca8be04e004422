package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"
)

// clockSkew is how far in the past the validity of certificates begins, for slow clocks.
const clockSkew = 5 * time.Minute

// newCA makes a CA. Its name is unique, so that nobody confuses it with its predecessor.
func newCA(lifetime time.Duration, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	template, err := template(lifetime, now)
	if err != nil {
		return nil, nil, err
	}
	template.Subject = pkix.Name{CommonName: "gatehouse CA " + hex.EncodeToString(template.SerialNumber.Bytes()[:4])}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.MaxPathLen = 1
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	cert, err := sign(template, template, key.Public(), key)
	return cert, key, err
}

// crossSign makes a certificate for the key of a CA, signed by an older CA.
func crossSign(ca, older *x509.Certificate, olderKey crypto.Signer, now time.Time) (*x509.Certificate, error) {
	template, err := template(older.NotAfter.Sub(now), now)
	if err != nil {
		return nil, err
	}
	template.Subject = ca.Subject
	template.SubjectKeyId = ca.SubjectKeyId
	template.IsCA, template.BasicConstraintsValid = true, true
	template.MaxPathLenZero = true
	template.KeyUsage = ca.KeyUsage
	return sign(template, older, ca.PublicKey, olderKey)
}

// newLeaf makes a serving certificate. It never expires after its CA.
func newLeaf(s Settings, ca *x509.Certificate, caKey crypto.Signer, now time.Time) (*x509.Certificate, crypto.Signer,
	error,
) {
	template, err := template(min(s.LeafLifetime, ca.NotAfter.Sub(now)), now)
	if err != nil {
		return nil, nil, err
	}
	if len(s.DNSNames) > 0 {
		template.Subject = pkix.Name{CommonName: s.DNSNames[0]}
	}
	template.DNSNames = s.DNSNames
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if s.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	cert, err := sign(template, ca, key.Public(), caKey)
	return cert, key, err
}

func template(lifetime time.Duration, now time.Time) (*x509.Certificate, error) {
	const bits = 128
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), bits-1))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	serial.SetBit(serial, bits-2, 1)
	return &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    now.Add(-min(clockSkew, lifetime/10)),
		NotAfter:     now.Add(lifetime),
	}, nil
}

func newKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	return key, nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("signing certificate %q: %w", template.Subject, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %q back: %w", template.Subject, err)
	}
	return cert, nil
}
