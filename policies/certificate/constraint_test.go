package certificate

import (
	"crypto/x509"
	"strings"
	"testing"
)

// TestExcludes: only hosts that clients would certainly refuse are excluded.
func TestExcludes(t *testing.T) {
	a := newIssuer(t)
	constrained := func(permitted, excluded []string) []byte {
		return []byte(chainPEM(a.sign(&x509.Certificate{
			IsCA: true, BasicConstraintsValid: true, PermittedDNSDomains: permitted, ExcludedDNSDomains: excluded,
			PermittedDNSDomainsCritical: true,
		}, &a.key.PublicKey)))
	}
	for _, c := range []struct {
		permitted, excluded []string
		host, want          string
	}{
		{nil, nil, "a.example.com", ""},
		{[]string{"example.com"}, nil, "A.example.com", ""},
		{[]string{"example.com"}, nil, "example.com", ""},
		{[]string{"example.com"}, nil, "*.example.com", ""},
		{[]string{".example.com"}, nil, "*.example.com", ""},
		{[]string{".example.com"}, nil, "example.com", `permits [".example.com"] only, and not "example.com"`},
		{[]string{"a.example.com"}, nil, "*.example.com", `not "*.example.com"`},
		{[]string{"example.com"}, nil, "badexample.com", `not "badexample.com"`},
		{[]string{"example.org", "example.com"}, nil, "b.a.example.com", ""},
		{nil, []string{"example.com"}, "a.example.com", `excludes ["example.com"], and so "a.example.com"`},
		{nil, []string{"a.example.com"}, "*.example.com", ""},
		{nil, []string{".example.com"}, "example.com", ""},
		{nil, []string{".example.com"}, "*.example.com", "excludes"},
		{[]string{"example.com"}, []string{"a.example.com"}, "x.a.example.com", "excludes"},
	} {
		got := Excludes(constrained(c.permitted, c.excluded), c.host)
		if !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s with permitted %q and excluded %q: %q, want %q", c.host, c.permitted, c.excluded, got, c.want)
		}
	}
	if got := Excludes([]byte("no"), "a.example.com"); got != "" {
		t.Errorf("a chain that cannot be read excludes: %s", got)
	}
}
