package certs

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// issuer is somebody else's CA.
type issuer struct {
	settings Settings
	ca       *Serving
}

func newIssuer(t *testing.T, s Settings, now time.Time) issuer {
	t.Helper()
	ca, err := renew(nil, s, now, false)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{s, ca}
}

// issue returns a new certificate of the CA, as cert-manager's Secret has it: without the CA's key.
func (i issuer) issue(t *testing.T, now time.Time) *Serving {
	t.Helper()
	next, err := issue(&Serving{cas: i.ca.cas, caKey: i.ca.caKey, caBundle: i.ca.caBundle}, nil, i.settings, now)
	if err != nil {
		t.Fatal(err)
	}
	next.caKey = nil
	return reread(t, next)
}

// TestHandOver walks through the life of an installation in steps of ten seconds: the own CA, cert-manager, its renewals
// and changes of its CA, and back to the own CA. At each step, clients with each bundle of the time that they have for
// reading a change must accept what is served.
func TestHandOver(t *testing.T) {
	s := testSettings()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, b := newIssuer(t, s, now), newIssuer(t, s, now)
	var stored, source *Serving
	var bundles [][]byte
	var served []string
	walk := func(from string, d time.Duration) {
		t.Helper()
		s.From = from
		for end := now.Add(d); now.Before(end); now = now.Add(10 * time.Second) {
			step, err := next(stored, source, s, now, serve)
			if err != nil {
				t.Fatal(err)
			}
			if step != stored {
				since, from := step.since, step.from
				step = reread(t, step)
				step.since, step.from = since, from
			}
			stored = step
			if serial := stored.Leaf.Leaf.SerialNumber.String(); !slices.Contains(served, serial) {
				served = append(served, serial)
			} else if serial != served[len(served)-1] {
				t.Fatal("a certificate came back")
			}
			bundles = append(bundles, stored.CABundle())
			if most := int(s.Overlap / (10 * time.Second)); len(bundles) > most {
				bundles = bundles[1:]
			}
			for i, bundle := range bundles {
				if err := accepts(t, bundle, stored, now); err != nil {
					t.Fatalf("after %d certificates, a client that has not read the last %d steps: %v", len(served), len(bundles)-1-i, err)
				}
			}
		}
	}
	settled := func(want *Serving, certificates int) {
		t.Helper()
		if len(stored.cas) != 1 || want != nil && !stored.cas[0].Equal(want.cas[0]) {
			t.Errorf("%d CAs are trusted at the end, want the new one only", len(stored.cas))
		}
		if own := stored.caKey != nil; own != (want == nil) {
			t.Errorf("the key of the own CA is there: %t", own)
		}
		if len(served) != certificates {
			t.Errorf("%d certificates were served, want %d", len(served), certificates)
		}
	}
	walk("", time.Hour)
	settled(nil, 1)
	source = a.issue(t, now)
	walk("tls", time.Hour)
	settled(source, 2)
	source = a.issue(t, now)
	walk("tls", time.Hour)
	settled(source, 3)
	source = b.issue(t, now)
	walk("tls", time.Minute)
	source = b.issue(t, now) // Renewed before the first one was served.
	walk("tls", time.Hour)
	settled(source, 4)
	if again, err := next(stored, nil, testSettings(), now, create); err != nil || again != stored {
		t.Errorf("certgen takes the certificate back: %v", err)
	}
	source = nil // Its Secret is gone, or broken.
	walk("tls", time.Hour)
	if len(served) != 4 || stored.caKey != nil {
		t.Error("a certificate that works was replaced, because its source is gone")
	}
	walk("", time.Minute)
	source = b.issue(t, now)
	walk("tls", time.Hour)
	settled(source, 5)
	source = nil
	walk("", time.Hour)
	settled(nil, 6)
	if stored.from != "" {
		t.Error("the handover to the own CA does not end")
	}
}

// TestOnlyTheLeaderHandsOver: while an upgrade replaces the replicas, those with the settings of before and those with the new
// ones look at the Secret in turns. The ones that do not lead change nothing, whichever way the installation moves. They make a
// certificate only where there is none that works.
func TestOnlyTheLeaderHandsOver(t *testing.T) {
	s := testSettings()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	source := newIssuer(t, s, now).issue(t, now)
	look := func(stored *Serving, from string, want purpose) *Serving {
		t.Helper()
		mine := s
		var theirs *Serving
		if mine.From = from; from != "" {
			theirs = source
		}
		step, err := next(stored, theirs, mine, now, want)
		if err != nil {
			t.Fatal(err)
		}
		return step
	}
	own := look(nil, "", create)
	for name, stored := range map[string]*Serving{
		"the own CA": own, "on its way to cert-manager": look(own, "cm", serve), "cert-manager": look(nil, "cm", create),
		"on its way back": look(look(nil, "cm", create), "", serve),
	} {
		for _, from := range []string{"", "cm"} {
			if look(stored, from, create) != stored {
				t.Errorf("%s: a replica that does not lead, with the settings %q, changes it", name, from)
			}
		}
	}
	if stored := look(own, "cm", serve); stored == own || len(stored.cas) != 2 {
		t.Errorf("the leader does not begin to hand over: the CAs are %v", stored.cas)
	}
	now = source.Leaf.Leaf.NotAfter
	source = newIssuer(t, s, now).issue(t, now)
	if stored := look(look(nil, "cm", create), "cm", create); !bytes.Equal(stored.Leaf.Certificate[0], source.Leaf.Certificate[0]) {
		t.Error("what has expired is not replaced by a replica that does not lead")
	}
}

// TestHandOverOfWhatWorksNoLonger: a certificate that has expired is replaced at once, by cert-manager's or by the own CA.
func TestHandOverOfWhatWorksNoLonger(t *testing.T) {
	s := testSettings()
	s.From = "tls"
	now := time.Now()
	stored := handOver(nil, newIssuer(t, s, now).issue(t, now), s, now)
	later := now.Add(s.LeafLifetime)
	theirs := newIssuer(t, s, later).issue(t, later)
	for _, source := range []*Serving{theirs, nil} {
		step, err := next(stored, source, s, later, serve)
		if err != nil {
			t.Fatal(err)
		}
		if err := accepts(t, step.CABundle(), reread(t, step), later); err != nil {
			t.Errorf("source %t: %v", source != nil, err)
		}
		if source == nil && step.caKey == nil {
			t.Error("the own CA does not serve")
		}
	}
}

// TestKeeperServesTheSecretOfCertManager lets a keeper follow a Secret as cert-manager writes it, with everything that can be
// wrong with one. What is wrong is said, and never served.
func TestKeeperServesTheSecretOfCertManager(t *testing.T) {
	c, s := inNamespace(t)
	s.From, s.Overlap = "gatehouse-tls", 300*time.Millisecond
	k := NewKeeper(c, s, logr.Discard())
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.From}, Type: corev1.SecretTypeTLS}
	theirs := newIssuer(t, s, time.Now())
	other := s
	other.DNSNames = []string{"gatehouse.example.com"}
	good := data(t, theirs.issue(t, time.Now()))
	if err := k.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.current.waiting == nil || k.current.caKey == nil {
		t.Fatal("without the Secret the own CA must serve, and say so")
	}
	secret.Data = good
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	reach(t, k, good)
	for want, change := range map[string]func(map[string][]byte){
		"no ca.crt in Se": func(d map[string][]byte) { delete(d, caCertKey) },
		"tls.crt and tls.key": func(d map[string][]byte) {
			d[corev1.TLSPrivateKeyKey] = data(t, theirs.issue(t, time.Now()))[corev1.TLSPrivateKeyKey]
		},
		"does not verify":         func(d map[string][]byte) { d[caCertKey] = newIssuer(t, s, time.Now()).ca.CABundle() },
		"has expired or is not":   func(d map[string][]byte) { maps.Copy(d, data(t, theirs.issue(t, time.Now().Add(-2*s.LeafLifetime)))) },
		"dnsNames of the Certifi": func(d map[string][]byte) { maps.Copy(d, data(t, newIssuer(t, other, time.Now()).issue(t, time.Now()))) },
	} {
		broken := maps.Clone(good)
		change(broken)
		secret.Data = broken
		if err := c.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		if err := k.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if k.current.waiting == nil || !strings.Contains(k.current.waiting.Error(), want) {
			t.Errorf("the reason is %v, want %q", k.current.waiting, want)
		}
		reach(t, k, good)
	}
	renewed := data(t, newIssuer(t, s, time.Now()).issue(t, time.Now()))
	secret.Data = renewed
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	reach(t, k, renewed)
	own := &corev1.Secret{}
	if err := c.Get(t.Context(), s.key(), own); err != nil {
		t.Fatal(err)
	}
	if own.Annotations[annotationFrom] != s.From || own.Annotations[annotationInject] != "true" || len(own.Data[caKeyKey]) > 0 {
		t.Errorf("the Secret has annotations %v and a CA key of %d bytes", own.Annotations, len(own.Data[caKeyKey]))
	}
}

func data(t *testing.T, s *Serving) map[string][]byte {
	t.Helper()
	data, err := s.data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// reach loads until the keeper serves the certificate and trusts nothing but its CA.
func reach(t *testing.T, k *Keeper, want map[string][]byte) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := k.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(encodeCertificates(k.current.Leaf.Certificate...), want[corev1.TLSCertKey]) &&
			bytes.Equal(k.CABundle(), want[caCertKey]) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("another certificate is served, and waits for: %v", k.current.waiting)
		}
	}
}
