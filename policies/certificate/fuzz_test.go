package certificate

import (
	"strings"
	"testing"
	"time"
)

func seed(f *testing.F) (chain, key, staple []byte) {
	f.Helper()
	a, k := newIssuer(f), p256(f)
	leaf := a.leaf(k, nil)
	return []byte(chainPEM(leaf, a.cert)), []byte(keyPEM(f, k)), a.staple(leaf, nil)
}

// FuzzParse: any stored data gets a verdict in one line, at any time.
func FuzzParse(f *testing.F) {
	chain, key, staple := seed(f)
	f.Add(chain, key, staple, int64(0))
	f.Add(chain, []byte(nil), []byte("no"), int64(1)<<40)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), []byte(block("RSA PRIVATE KEY", []byte{0x30, 6, 2, 1, 0, 2, 1, 0})),
		[]byte{}, int64(-1))
	f.Fuzz(func(t *testing.T, chain, key, staple []byte, at int64) {
		p, err := Parse(map[string][]byte{ChainKey: chain, PrivateKey: key, StapleKey: staple})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		now := time.Unix(at, 0)
		next := p.Next(now, 14*24*time.Hour)
		if before := next.Add(-time.Nanosecond); !next.IsZero() && before.After(now) &&
			(p.At(now) == nil) != (p.At(before) == nil) {
			t.Errorf("the judgement changes between %v and %v, which Next does not tell", now, next)
		}
		if soon := p.EndsSoon(14 * 24 * time.Hour); soon.After(now) && soon.Before(next) {
			t.Errorf("the certificate ends soon from %v on, and the next moment after %v is %v", soon, now, next)
		}
		p.For("www.example.com")
	})
}

// FuzzCheckAuthorities: text after a bundle changes nothing, and a truncated bundle is rejected.
func FuzzCheckAuthorities(f *testing.F) {
	chain, _, _ := seed(f)
	f.Add(chain)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		err := CheckAuthorities(AuthoritiesKey, bundle)
		if err != nil {
			return
		}
		longer := string(bundle) + "\n# the end\n"
		if err := CheckAuthorities(AuthoritiesKey, []byte(longer)); err != nil && len(longer) <= maxBundle {
			t.Errorf("with words behind it: %v", err)
		}
		if CheckAuthorities(AuthoritiesKey, []byte(longer+"-----BEGIN CERTIFICATE-----\n")) == nil {
			t.Error("a bundle that is cut off is taken")
		}
	})
}
