package certificate

import (
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

func TestTimes(t *testing.T) {
	const never = -time.Hour
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := &Pair{NotBefore: from, NotAfter: from.Add(time.Hour)}
	required := &Pair{
		NotBefore: from, NotAfter: from.Add(time.Hour),
		Staple: &Staple{Required: true, NextUpdate: from.Add(time.Minute)},
	}
	optional := &Pair{NotBefore: from, NotAfter: from.Add(time.Hour), Staple: &Staple{NextUpdate: from.Add(time.Minute)}}
	for name, c := range map[string]struct {
		pair  *Pair
		after time.Duration
		words string
		early bool
		next  time.Duration // After from; never for never.
	}{
		"before": {
			p, -time.Minute - time.Second,
			"has a certificate that is not valid before 2026-01-02T03:04:05Z; until then clients refuse it: keep the old one, or wait", true, -time.Minute,
		},
		"just issued, by a clock that is ahead": {p, -time.Second, "", false, 50 * time.Minute},
		"first":                                 {p, 0, "", false, 50 * time.Minute},
		"soon":                                  {p, 50 * time.Minute, "", false, time.Hour + time.Second},
		"last":                                  {p, time.Hour + time.Millisecond, "", false, time.Hour + time.Second},
		"after": {
			p, time.Hour + time.Second, "has a certificate that expired at 2026-01-02T04:04:05Z: issue a new one",
			false, never,
		},
		"staple": {required, time.Minute, "", false, time.Minute + time.Second},
		"old staple": {
			required, time.Minute + time.Second,
			"has a certificate that asks for an OCSP response (must-staple), and the one in tls.ocsp-staple was good until 2026-01-02T03:05:05Z: fetch a new one", false, 50 * time.Minute,
		},
		"not needed": {optional, time.Minute + time.Second, "", false, 50 * time.Minute},
		"all is late": {
			required, 2 * time.Hour, "has a certificate that expired at 2026-01-02T04:04:05Z: issue a new one",
			false, never,
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := from.Add(c.after)
			got := c.pair.At(now)
			if (got == nil) != (c.words == "") || got != nil && (got.Words != c.words || got.Early != c.early) {
				t.Errorf("At: %+v, want %q, early %t", got, c.words, c.early)
			}
			next := c.pair.Next(now, 10*time.Minute)
			if want := from.Add(c.next); c.next == never && !next.IsZero() || c.next != never && !next.Equal(want) {
				t.Errorf("Next: %v after the beginning, want %v", next.Sub(from), c.next)
			}
		})
	}
}

// TestEndsSoon: a certificate is told of before its end, and a short one not before cert-manager has had time to renew it
// after two thirds of its lifetime.
func TestEndsSoon(t *testing.T) {
	const day = 24 * time.Hour
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct{ lifetime, before, want time.Duration }{
		{90 * day, 14 * day, 76 * day},
		{90 * day, 40 * day, 63 * day},
		{10 * day, 14 * day, 7 * day},
		{time.Hour, 14 * day, 42 * time.Minute},
		{100 * day, time.Hour, 100*day - time.Hour},
	} {
		p := &Pair{NotBefore: from, NotAfter: from.Add(c.lifetime)}
		if got := p.EndsSoon(c.before).Sub(from); got != c.want {
			t.Errorf("%v, %v before: after %v, want %v", c.lifetime, c.before, got, c.want)
		}
		if due := from.Add(c.lifetime / 3 * 2); !p.EndsSoon(c.before).After(due) {
			t.Errorf("%v, %v before: at %v, when the renewal begins", c.lifetime, c.before, due)
		}
	}
	ever := &Pair{NotAfter: from} // From the year 1 on, as some make them.
	if got := from.Sub(ever.EndsSoon(14 * day)); got != 14*day {
		t.Errorf("a long lifetime: %v before the end", got)
	}
}

// TestStapleOfACertificateThatDemandsIt: when the response expires, the certificate can no longer be used.
func TestStapleOfACertificateThatDemandsIt(t *testing.T) {
	a, k := newIssuer(t), p256(t)
	leaf := a.leaf(k, demandStaple)
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	p, err := Parse(map[string][]byte{
		ChainKey: []byte(chainPEM(leaf)), PrivateKey: []byte(keyPEM(t, k)),
		StapleKey: a.staple(leaf, func(r *ocsp.Response) { r.NextUpdate = until }),
	})
	if err != nil {
		t.Fatal(err)
	}
	if next := p.Next(time.Now(), time.Nanosecond); !next.Equal(until.Add(time.Second)) {
		t.Errorf("the judgement changes at %v, want %v", next, until.Add(time.Second))
	}
	if got := p.At(until.Add(time.Second)); got == nil {
		t.Error("the certificate is taken with a response that is out of date")
	}
}

func TestNames(t *testing.T) {
	for name, c := range map[string]struct {
		host  string
		names []string
		want  bool
	}{
		"the same":                   {"www.example.com", []string{"a.example.com", "www.example.com"}, true},
		"another":                    {"www.example.com", []string{"a.example.com"}, false},
		"none":                       {"www.example.com", nil, false},
		"wildcard":                   {"www.example.com", []string{"*.example.com"}, true},
		"wildcard, two labels":       {"a.www.example.com", []string{"*.example.com"}, false},
		"wildcard, no label":         {"example.com", []string{"*.example.com"}, false},
		"wildcards":                  {"*.example.com", []string{"*.example.com"}, true},
		"one of the wildcard":        {"*.example.com", []string{"www.example.com"}, true},
		"one deep below":             {"*.example.com", []string{"a.www.example.com"}, true},
		"wildcard deep below":        {"*.example.com", []string{"*.www.example.com"}, true},
		"wildcard above":             {"*.www.example.com", []string{"*.example.com"}, false},
		"not below":                  {"*.example.com", []string{"example.com", "www.anexample.com"}, false},
		"empty label":                {".example.com", []string{"*.example.com"}, false},
		"a certificate for all":      {"www.example.com", []string{"*"}, false},
		"certificate without labels": {"com", []string{"*.com"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&Pair{Names: c.names}).For(c.host); got != c.want {
				t.Errorf("%q for %q: %t", c.names, c.host, got)
			}
		})
	}
}
