package certificate

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
)

// TestAnchors: a chain that does not lead to the CA of its own Secret is told of, and so is a certificate of a public CA
// without its intermediate. All others are not.
func TestAnchors(t *testing.T) {
	root, other, k := newIssuer(t), newIssuer(t), p256(t)
	middle := root.authority("middle")
	leaf := middle.leaf(k, nil)
	public := middle.leaf(k, func(c *x509.Certificate) { c.IssuingCertificateURL = []string{"http://ca.example.com/middle.crt"} })
	itself := root.leaf(k, nil)
	cross := other.sign(&x509.Certificate{
		Subject: middle.cert.Subject, SubjectKeyId: middle.cert.SubjectKeyId, IsCA: true, BasicConstraintsValid: true,
	}, middle.key.Public())
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		ca    string
		want  string
	}{
		"whole":                      {chain: []*x509.Certificate{leaf, middle.cert}, ca: chainPEM(root.cert)},
		"with the root":              {chain: []*x509.Certificate{leaf, middle.cert, root.cert}, ca: chainPEM(root.cert)},
		"one of several":             {chain: []*x509.Certificate{leaf, middle.cert}, ca: chainPEM(other.cert, root.cert)},
		"the other way":              {chain: []*x509.Certificate{leaf, middle.cert, cross}, ca: chainPEM(other.cert)},
		"the intermediate as the CA": {chain: []*x509.Certificate{leaf}, ca: chainPEM(middle.cert)},
		"intermediate beside the CA": {chain: []*x509.Certificate{leaf}, ca: chainPEM(root.cert, middle.cert)},
		"itself":                     {chain: []*x509.Certificate{itself}, ca: chainPEM(itself)},
		"no CA":                      {chain: []*x509.Certificate{leaf}},
		"CA is text":                 {chain: []*x509.Certificate{leaf}, ca: "hello"},
		"CA is large":                {chain: []*x509.Certificate{leaf}, ca: strings.Repeat("#", maxAnchors) + "\n" + chainPEM(other.cert)},
		"intermediate missing": {
			chain: []*x509.Certificate{leaf}, ca: chainPEM(root.cert),
			want: `has a certificate that leads to no CA in its ca.crt: put that of its issuer "CN=middle" into tls.crt, or correct ca.crt`,
		},
		"another CA": {
			chain: []*x509.Certificate{leaf, middle.cert}, ca: chainPEM(other.cert),
			want: `put that of its issuer "CN=CA" into tls.crt`,
		},
		"public, whole": {chain: []*x509.Certificate{public, middle.cert}},
		"public, alone": {
			chain: []*x509.Certificate{public},
			want:  `without that of its issuer "CN=middle", which some clients need: put it behind the certificate in tls.crt; it is at ["http://ca.example.com/middle.crt"]`,
		},
	} {
		p, err := Parse(map[string][]byte{ChainKey: []byte(chainPEM(c.chain...)), PrivateKey: []byte(keyPEM(t, k)), AuthoritiesKey: []byte(c.ca)})
		if err != nil {
			t.Fatal(err)
		}
		if (p.WrongChain == "") != (c.want == "") || !strings.Contains(p.WrongChain, c.want) {
			t.Errorf("%s: said %q, want %q", name, p.WrongChain, c.want)
		}
	}
}

// TestAnchorsAreSoughtBriefly: many CA certificates with one name cost a bounded number of signatures.
func TestAnchorsAreSoughtBriefly(t *testing.T) {
	k := p256(t)
	leaf := newIssuer(t).leaf(k, nil)
	leaf.AuthorityKeyId = nil // Any CA of that name may have issued it.
	var many []*x509.Certificate
	for range 90 {
		many = append(many, newIssuer(t).cert)
	}
	s := search{anchors: many, others: slices.Concat(many, many), left: maxSignatures}
	if s.leads(leaf) || s.left != 0 {
		t.Errorf("a way was found, or the search went on: %d signatures are left", s.left)
	}
}
