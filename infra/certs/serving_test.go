package certs

import (
	"crypto/x509"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func testSettings() Settings {
	return Settings{
		Namespace: "gatehouse-system",
		DNSNames:  ServiceNames("gatehouse", "gatehouse-system", "cluster.local"),
	}.withDefaults()
}

// accepts reports whether a client that trusts the bundle accepts the server for every name, at a time.
func accepts(t *testing.T, bundle []byte, server *Serving, at time.Time) error {
	t.Helper()
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		t.Fatal("the bundle holds no certificate")
	}
	for _, der := range server.Leaf.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(cert)
	}
	for _, name := range testSettings().DNSNames {
		if err := server.Leaf.Leaf.VerifyHostname(name); err != nil {
			return err
		}
	}
	_, err := server.Leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at})
	return err
}

// reread stores the certificates and reads them back.
func reread(t *testing.T, s *Serving) *Serving {
	t.Helper()
	data, err := s.data()
	if err != nil {
		t.Fatal(err)
	}
	back, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// TestEverybodyKeepsTrustingEverybody simulates twenty years in steps of a week. At each step a client with the bundle
// of half a year ago must accept the current certificate.
func TestEverybodyKeepsTrustingEverybody(t *testing.T) {
	const week = 7 * 24 * time.Hour
	s := testSettings()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var current *Serving
	var bundles [][]byte
	leaves, cas := 0, 0
	for range 20 * 52 {
		next, err := renew(current, s, now, false)
		if err != nil {
			t.Fatal(err)
		}
		if next != current {
			leaves++
			if current == nil || !next.cas[0].Equal(current.cas[0]) {
				cas++
			}
			next = reread(t, next)
		}
		current = next
		bundles = append(bundles, current.CABundle())
		if len(bundles) > 26 {
			bundles = bundles[1:]
		}
		for _, i := range []int{0, len(bundles) - 1} {
			if err := accepts(t, bundles[i], current, now); err != nil {
				t.Fatalf("%s: a client that knows the bundle of %d weeks ago: %v", now.Format(time.DateOnly), len(bundles)-1-i, err)
			}
		}
		if len(current.cas) > 2 {
			t.Fatalf("%s: the bundle has grown to %d certificates", now.Format(time.DateOnly), len(current.cas))
		}
		now = now.Add(week)
	}
	if leaves < 110 || leaves > 135 || cas < 5 || cas > 7 {
		t.Errorf("%d certificates of %d CAs in twenty years, want about 120 of 6", leaves, cas)
	}
}

func TestRenew(t *testing.T) {
	now := time.Now()
	s := testSettings()
	first, err := renew(nil, s, now, false)
	if err != nil {
		t.Fatal(err)
	}
	first = reread(t, first)
	more := s
	more.DNSNames = append([]string{"other.example.com"}, s.DNSNames...)
	for _, c := range []struct {
		name          string
		settings      Settings
		at            time.Time
		replace       bool
		leaf, ca      bool
		trustsOldOnly bool
	}{
		{"nothing is due", s, now.Add(59 * 24 * time.Hour), false, false, false, true},
		{"two thirds of the certificate's life are over", s, now.Add(61 * 24 * time.Hour), false, true, false, true},
		{"a name is missing", more, now, false, true, false, true},
		{"two thirds of the CA's life are over", s, now.Add(4 * 365 * 24 * time.Hour), false, true, true, true},
		{"it is asked for", s, now, true, true, true, true},
		{"everything has expired", s, now.Add(6 * 365 * 24 * time.Hour), false, true, true, false},
		{"the clock went back", s, now.Add(-24 * time.Hour), false, true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			next, err := renew(first, c.settings, c.at, c.replace)
			if err != nil {
				t.Fatal(err)
			}
			if got := next != first; got != c.leaf {
				t.Errorf("a new certificate: %t, want %t", got, c.leaf)
			}
			if got := !next.cas[0].Equal(first.cas[0]); got != c.ca {
				t.Errorf("a new CA: %t, want %t", got, c.ca)
			}
			if err := accepts(t, next.CABundle(), next, c.at); err != nil {
				t.Errorf("a client with the new bundle: %v", err)
			}
			if err := accepts(t, first.CABundle(), next, c.at); (err == nil) != c.trustsOldOnly {
				t.Errorf("a client with the old bundle only: %v", err)
			}
		})
	}
}

func TestParseRefusesWhatDoesNotBelongTogether(t *testing.T) {
	a, errA := renew(nil, testSettings(), time.Now(), false)
	b, errB := renew(nil, testSettings(), time.Now(), false)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	dataB, err := b.data()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{caCertKey, caKeyKey, corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		data, err := a.data()
		if err != nil {
			t.Fatal(err)
		}
		if key != caCertKey {
			data[key] = dataB[key]
			if _, err := parse(data); err == nil {
				t.Errorf("%s of another CA is accepted", key)
			}
		}
		data[key] = []byte("garbage")
		if _, err := parse(data); err == nil {
			t.Errorf("a broken %s is accepted", key)
		}
	}
	if _, err := parse(nil); err == nil {
		t.Error("an empty Secret is accepted")
	}
}

func FuzzParse(f *testing.F) {
	serving, err := renew(nil, testSettings(), time.Now(), false)
	if err != nil {
		f.Fatal(err)
	}
	data, err := serving.data()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[caCertKey], data[caKeyKey], data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	f.Fuzz(func(t *testing.T, ca, caKey, cert, key []byte) {
		s, err := parse(map[string][]byte{
			caCertKey: ca, caKeyKey: caKey, corev1.TLSCertKey: cert,
			corev1.TLSPrivateKeyKey: key,
		})
		if err != nil {
			return
		}
		next, err := renew(s, testSettings(), time.Now(), false)
		if err != nil {
			t.Fatalf("what was read cannot be renewed: %v", err)
		}
		if err := accepts(t, next.CABundle(), next, time.Now()); err != nil && len(s.Leaf.Certificate) == 1 {
			t.Errorf("renewed, but not trusted: %v", err)
		}
	})
}
