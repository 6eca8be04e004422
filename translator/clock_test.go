package translator

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/policies/certificate"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

func mustApply(t *testing.T, w *World, events ...Event) Outcome {
	t.Helper()
	outcome, err := w.Apply(events)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// TestTheClockExpiresCertificates: the status changes in the very moment in which a certificate ends soon, and in that in
// which it is over, by nothing but the clock, and what proxies have stays as it is. A renewal ends it. A certificate that
// was already over when it came into use is told of at once.
func TestTheClockExpiresCertificates(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.now = func() time.Time { return now }
	pair, err := certificate.Parse(pairs[0])
	if err != nil {
		t.Fatal(err)
	}
	apply := func(events ...Event) Outcome { return mustApply(t, w, events...) }
	valid := func(want bool) {
		t.Helper()
		all, err := w.Certificates(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("the certificates in use are %v, %v", all, err)
		}
		if c := all[0]; c.Namespace != "n" || c.Name != "tls" || c.Issuer != pair.Issuer || !c.NotAfter.Equal(pair.NotAfter) || c.Valid != want {
			t.Errorf("the certificate in use is %+v, want one that is valid: %t", c, want)
		}
	}
	outcome := apply(benchEvents(0)...)
	valid(true)
	if p := problemsOf(outcome); len(p) > 0 {
		t.Fatalf("a valid certificate is refused: %v", p)
	}
	// pass lets the time pass until a moment, before which nothing happens.
	pass := func(until time.Time) {
		t.Helper()
		for at := outcome.Moment; at.Before(until); at = outcome.Moment {
			if now = at; !at.After(w.clock) {
				t.Fatalf("the clock is to be set at %v, where it stands", at)
			}
			if outcome = apply(); len(outcome.Statuses)+len(outcome.Deltas) > 0 {
				t.Fatalf("%v before the moment the certificate is told of: %v", until.Sub(now), problemsOf(outcome))
			}
		}
		if !outcome.Moment.Equal(until) {
			t.Fatalf("the clock is to be set at %v, want %v", outcome.Moment, until)
		}
		now = outcome.Moment
		outcome = apply()
	}
	pass(pair.EndsSoon(DefaultExpiryWarning))
	valid(true)
	if p := problemsOf(outcome); len(p) != 1 || p[0].Weight != verdict.Notice || p[0].Condition != conditionCurrent ||
		!strings.HasSuffix(p[0].Message, "Secret n/tls has a certificate that expires soon, at "+
			pair.NotAfter.UTC().Format(time.RFC3339)+": issue a new one") {
		t.Errorf("a certificate that ends soon: %v", p)
	}
	if len(outcome.Deltas) > 0 {
		t.Errorf("what proxies have depends on the clock: %v", outcome.Deltas)
	}
	renewed := apply(Event{Object: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "tls", UID: "tls"}, Type: corev1.SecretTypeTLS,
		Data: newPairUntil(now.Add(24*time.Hour), "*.example.com", "*.example.org"),
	}})
	if p := problemsOf(renewed); len(renewed.Statuses) != 1 || len(p) > 0 {
		t.Errorf("after the renewal: %d statuses, %v", len(renewed.Statuses), p)
	}
	apply(Event{Object: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "tls", UID: "tls"}, Type: corev1.SecretTypeTLS, Data: pairs[0],
	}})
	outcome = apply()
	pass(pair.NotAfter.Add(time.Second))
	valid(false)
	if p := problemsOf(outcome); len(p) != 1 || !strings.Contains(p[0].Message,
		"Secret n/tls has a certificate that expired at") || p[0].Weight != verdict.Invalid {
		t.Errorf("an expired certificate: %v", p)
	}
	if len(outcome.Deltas) > 0 {
		t.Errorf("what proxies have depends on the clock: %v", outcome.Deltas)
	}
	findings, err := w.Try(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: "tls",
		UID: "tls",
	}, Type: corev1.SecretTypeTLS, Data: pairs[1]})
	if err != nil || len(findings) != 0 {
		t.Errorf("a change that makes nothing worse is refused: %v, %v", findings, err)
	}
}

// TestEarlyCertificatesWait: a certificate that is not valid yet takes no certificate from proxies. They get it in the very
// moment from which on it counts as valid.
func TestEarlyCertificatesWait(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.now = func() time.Time { return now }
	apply := func(events ...Event) Outcome { return mustApply(t, w, events...) }
	apply(benchEvents(0)...)
	begins := now.Truncate(time.Second).Add(30 * time.Minute)
	counts := begins.Add(-time.Minute) // See TestJustIssuedCertificatesAreValid.
	outcome := apply(Event{Object: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "tls", UID: "tls"}, Type: corev1.SecretTypeTLS,
		Data: newPairBetween(begins, begins.Add(365*24*time.Hour), "*.example.com", "*.example.org"),
	}})
	if p := problemsOf(outcome); len(p) != 1 || !strings.Contains(p[0].Message, "Secret n/tls has a certificate that is not valid before") {
		t.Errorf("a certificate that is not valid yet: %v", p)
	}
	for now.Before(counts) {
		for _, d := range outcome.Deltas {
			if len(d.Changed) > 0 {
				t.Fatalf("%v before it counts as valid, proxies get %v", counts.Sub(now), d.Changed)
			}
		}
		now = outcome.Moment
		outcome = apply()
	}
	if p := problemsOf(outcome); len(p) > 0 || len(outcome.Deltas) != 1 || len(outcome.Deltas[0].Changed) != 1 {
		t.Errorf("when it counts as valid: %v, %v", p, outcome.Deltas)
	}
}

// TestJustIssuedCertificatesAreValid: the clock of the tables may be a minute late, and those of issuers ahead. A certificate
// that begins to be valid within a minute counts as valid. One that begins later does not.
func TestJustIssuedCertificatesAreValid(t *testing.T) {
	pair, err := certificate.Parse(pairs[0])
	if err != nil {
		t.Fatal(err)
	}
	for before, problems := range map[time.Duration]int{time.Second: 0, time.Minute: 0, 2 * time.Minute: 1} {
		w := newWorld(t)
		w.now = func() time.Time { return pair.NotBefore.Add(-before) }
		outcome, err := w.Apply(benchEvents(0))
		if err != nil {
			t.Fatal(err)
		}
		if p := problemsOf(outcome); len(p) != problems {
			t.Errorf("%v before a certificate is valid: got the problems %v, want %d", before, p, problems)
		}
	}
}

// TestTheClockEndsContent: the clock is set at each time at which content begins or ends to be valid. The status changes
// at these times only.
func TestTheClockEndsContent(t *testing.T) {
	at := func(hours int) time.Time { return time.Date(2030, 1, 1, hours, 0, 0, 0, time.UTC) }
	part := func(of string, from, until int) lifetimeRow {
		return lifetimeRow{Lifetime: feature.Lifetime{Of: of, From: at(from), Until: at(until)}}
	}
	all := []lifetimeRow{part("a", 1, 5), part("b", 2, 4), part("a", 4, 8), part("c", 1, 9)}
	all[3].Until = time.Time{}
	w := newWorld(t)
	for hour, want := range map[int]string{0: "abc", 1: "b", 2: "", 3: "", 4: "b", 7: "b", 8: "ab", 100: "ab"} {
		got := ""
		for _, p := range untimelyAt(all, at(hour)) {
			got += p.Message[:1]
		}
		if got != want {
			t.Errorf("at %d o'clock %q is not valid, want %q", hour, got, want)
		}
	}
	mustApply(t, w, revocationEvents(t)...)
	r := w.engine.Read()
	begin, end := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct{ now, want time.Time }{
		{begin.Add(-time.Second), begin}, {begin, begin.Add(clockStep)}, {end.Add(-time.Second), end},
	} {
		if got := w.tables.nextMoment(r, tc.now); !got.Equal(tc.want) {
			t.Errorf("at %v: the clock is next set at %v, want %v", tc.now, got, tc.want)
		}
	}
}

// revocationEvents are the objects of golden client-revocations.
func revocationEvents(t *testing.T) (events []Event) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/client-revocations.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range decode(t, archive.Files[0].Data) {
		events = append(events, Event{Object: o})
	}
	return events
}
