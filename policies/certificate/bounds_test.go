package certificate

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"
)

// within is far more than a check takes, and far less than a huge key took before.
const within = 500 * time.Millisecond

func timed(t *testing.T, what func() error) error {
	t.Helper()
	start := time.Now()
	err := what()
	if took := time.Since(start); took > within {
		t.Errorf("it took %v; at most %v", took, within)
	}
	return err
}

// hugeRSA is a PKCS #1 key with a modulus of that many bytes, which nobody makes: its numbers are not a valid key, but
// parsing them takes much work.
func hugeRSA(t *testing.T, modulus, others int) []byte {
	t.Helper()
	number := func(length int) *big.Int {
		b := make([]byte, length)
		_, _ = rand.Read(b) // Never fails.
		b[0], b[length-1] = 0xff, b[length-1]|1
		return new(big.Int).SetBytes(b)
	}
	p := number(others)
	der, err := asn1.Marshal(struct {
		Version               int
		N                     *big.Int
		E                     int
		D, P, Q, Dp, Dq, QInv *big.Int
	}{N: number(modulus), E: 65537, D: p, P: p, Q: p, Dp: p, Dq: p, QInv: p})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestSizesAreJudgedFirst: data that is larger than anything in real use is rejected by its size, with a message that
// says how to fix it, and at no cost.
func TestSizesAreJudgedFirst(t *testing.T) {
	a, k := newIssuer(t), p256(t)
	leaf, key := chainPEM(a.leaf(k, nil)), keyPEM(t, k)
	huge := block("RSA PRIVATE KEY", hugeRSA(t, 65<<10, 32<<10))
	if len(huge) < 300<<10 {
		t.Fatalf("the huge key has %d bytes", len(huge))
	}
	wrapped, err := asn1.Marshal(struct {
		Version   int
		Algorithm struct {
			Algorithm asn1.ObjectIdentifier
			Null      asn1.RawValue
		}
		Key []byte
	}{Key: hugeRSA(t, 9<<10, 16), Algorithm: struct {
		Algorithm asn1.ObjectIdentifier
		Null      asn1.RawValue
	}{rsaEncryption, asn1.NullRawValue}})
	if err != nil {
		t.Fatal(err)
	}
	many := make([]*x509.Certificate, 40)
	for i := range many {
		many[i] = a.cert
	}
	for name, c := range map[string]judged{
		"key of 400 KB": {chain: leaf, key: huge, want: "bytes, and at most 16384 are taken: store one private key"},
		"long modulus": {
			chain: leaf, key: block("RSA PRIVATE KEY", hugeRSA(t, 9<<10, 16)),
			want: "an RSA key of 73728 bits in tls.key, and Envoy takes 2048 to 8192",
		},
		"long modulus, PKCS 8": {
			chain: leaf, key: block("PRIVATE KEY", wrapped),
			want: "an RSA key of 73728 bits in tls.key, and Envoy takes 2048 to 8192",
		},
		"modulus of zero": {
			chain: leaf, key: block("RSA PRIVATE KEY", []byte{0x30, 6, 2, 1, 0, 2, 1, 0}),
			want: "an RSA key of 0 bits",
		},
		"text around a key": {chain: leaf, key: strings.Repeat("#\n", 10<<10) + key, want: "at most 16384 are taken"},
		"long chain":        {chain: leaf + strings.Repeat("#\n", 100<<10), key: key, want: "has a tls.crt of"},
		"many in the chain": {chain: leaf + chainPEM(many...), key: key, want: "more than 32 certificates in tls.crt"},
		"beginnings": {
			chain: strings.Repeat("-----BEGIN CERTIFICATE-----\n", maxChain/28), key: key,
			want: "cannot be read",
		},
		"beginnings and ends": {
			chain: strings.Repeat("-----BEGIN X-----\n-----END X-----\n", maxChain/40), key: key,
			want: `"X"`,
		},
		"beginnings of keys": {
			chain: leaf, key: strings.Repeat("-----BEGIN X-----\n-----END X-----\n", maxKey/40),
			want: "no private key",
		},
		"long staple": {
			chain: leaf, key: key, staple: bytes.Repeat([]byte{0x30}, maxStaple+1),
			want: "has a tls.ocsp-staple of 16385 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := timed(t, func() error {
				p, err := Parse(map[string][]byte{ChainKey: []byte(c.chain), PrivateKey: []byte(c.key), StapleKey: c.staple})
				if err == nil && p.WrongStaple != "" {
					return wrong(p.WrongStaple)
				}
				return err
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("judged: %v, want %q", err, c.want)
			}
		})
	}
	for name, c := range map[string]struct{ bundle, want string }{
		"large": {
			strings.Repeat("#\n", maxBundle),
			"has a ca.crt of 1048576 bytes, and at most 524288 are taken",
		},
		"many": {strings.Repeat(leaf, 10), ""},
		"too many": {
			strings.Repeat(block("CERTIFICATE", small(t)), maxInBundle+1),
			"more than 1024 certificates in ca.crt",
		},
		"beginnings":          {strings.Repeat("-----BEGIN CERTIFICATE-----\n", maxBundle/28), "cannot be read"},
		"lines":               {strings.Repeat("\n", maxBundle), "has no certificate in ca.crt"},
		"beginning of a line": {strings.Repeat("-----BEGIN ", maxBundle/11), "cannot be read"},
	} {
		t.Run("bundle, "+name, func(t *testing.T) {
			err := timed(t, func() error { return CheckAuthorities(AuthoritiesKey, []byte(c.bundle)) })
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("judged: %v, want %q", err, c.want)
			}
		})
	}
}

type wrong string

func (w wrong) Error() string { return string(w) }

// small is a certificate of few bytes.
func small(t *testing.T) []byte {
	a := newIssuer(t)
	return a.sign(&x509.Certificate{}, &a.key.PublicKey).Raw
}
