package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// DefaultOverlap is how long clients may take to learn of a new CA. kubelet needs up to two minutes to bring a changed
// ConfigMap into a running pod.
const DefaultOverlap = 3 * time.Minute

// readSource returns the certificate that cert-manager keeps in Secret From, or why it cannot be used; nil without an
// error if there is no From.
func readSource(ctx context.Context, c client.Client, s Settings, now time.Time) (*Serving, error) {
	if s.From == "" {
		return nil, nil
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.From}
	if err := c.Get(ctx, key, secret); apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("no Secret %s: look at the Certificate that cert-manager fills it from", key)
	} else if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	if len(secret.Data[caCertKey]) == 0 {
		return nil, fmt.Errorf("no %[2]s in Secret %[1]s, so clients would not know whom to trust: choose an issuer that gives its CA, such "+
			"as one of kind CA", key, caCertKey)
	}
	source, err := parse(map[string][]byte{
		caCertKey:               secret.Data[caCertKey],
		corev1.TLSCertKey:       secret.Data[corev1.TLSCertKey],
		corev1.TLSPrivateKeyKey: secret.Data[corev1.TLSPrivateKeyKey],
	})
	if err == nil {
		err = source.usable(s.DNSNames, now)
	}
	if err != nil {
		return nil, fmt.Errorf("using Secret %s, which cert-manager fills: %w", key, err)
	}
	return source, nil
}

// usable returns why clients that trust the CAs would reject the certificate for one of the names.
func (s *Serving) usable(names []string, now time.Time) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, ca := range s.cas {
		roots.AddCert(ca)
	}
	for _, der := range s.Leaf.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("%s: %w", corev1.TLSCertKey, err)
		}
		between.AddCert(cert)
	}
	_, err := s.Leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now})
	if err != nil {
		return fmt.Errorf("%s does not verify with %s: %w", corev1.TLSCertKey, caCertKey, err)
	}
	for _, name := range names {
		if err := s.Leaf.Leaf.VerifyHostname(name); err != nil {
			return fmt.Errorf("%s: %w: add the name to dnsNames of the Certificate", corev1.TLSCertKey, err)
		}
	}
	return nil
}

// next returns what the Secret must contain now: stored itself if nothing is to change. source is the certificate of
// Secret From; nil if there is none, or if it cannot be used.
func next(stored, source *Serving, s Settings, now time.Time, want purpose) (*Serving, error) {
	switch {
	case want == replace:
		return renew(stored, s, now, true)
	case source != nil && (want == serve || stored == nil || !now.Before(stored.Leaf.Leaf.NotAfter)):
		return handOver(stored, source, s, now), nil
	case stored == nil || stored.from == "" && stored.caKey != nil:
		return renew(stored, s, now, false)
	case stored.from == "":
		return stored, nil // It belongs to somebody else.
	case (s.From != "" || want == create) && now.Before(stored.Leaf.Leaf.NotAfter):
		return stored, nil
	}
	own, err := ownTarget(stored, s, now)
	if err != nil {
		return nil, err
	}
	return handOver(stored, own, s, now), nil
}

// ownTarget is what a handover to the own CA leads to. If the handover has begun earlier, it continues with the CA that is
// stored; otherwise there is a new CA.
func ownTarget(stored *Serving, s Settings, now time.Time) (*Serving, error) {
	if stored.caKey == nil {
		return first(nil, s, now)
	}
	own := &Serving{cas: stored.cas[:1], caKey: stored.caKey}
	if fits(stored, s.DNSNames, now) {
		own.Leaf = stored.Leaf
		return own, nil
	}
	return issue(own, nil, s, now)
}

// handOver leads from the stored certificate to another one in steps, so that no client meets a certificate whose CA it
// does not know yet: first clients are told the new CAs beside the old ones, after an overlap the new certificate is
// served, and after another one the old CAs go. Replicas and restarts continue where the Secret says that the handover
// is. If the stored certificate works no longer, the new one is served at once.
func handOver(stored, target *Serving, s Settings, now time.Time) *Serving {
	step := &Serving{Leaf: target.Leaf, cas: target.cas, caKey: target.caKey, from: s.From, since: now}
	served := stored != nil && bytes.Equal(stored.Leaf.Certificate[0], target.Leaf.Certificate[0])
	told := stored != nil && !slices.ContainsFunc(target.cas, func(ca *x509.Certificate) bool {
		return !slices.ContainsFunc(stored.cas, ca.Equal)
	})
	switch {
	case stored == nil:
	case !now.Before(stored.Leaf.Leaf.NotAfter):
		step.cas = union(target.cas, stored.cas, now)
	case !told:
		step.Leaf, step.cas = stored.Leaf, union(target.cas, stored.cas, now)
	case now.Before(stored.since.Add(s.Overlap)):
		return stored
	case !served:
		step.cas = stored.cas
	case len(stored.cas) == len(target.cas) && (stored.caKey == nil) == (target.caKey == nil) && stored.from == s.From:
		return stored
	}
	// The handover to the own CA ends when nothing of the other one is left.
	if s.From == "" && len(step.cas) > len(target.cas) {
		step.from = stored.from
	}
	step.caBundle = encodeCertificates(raw(step.cas)...)
	return step
}

// union returns the first certificates, and those of the others that are still valid.
func union(first, others []*x509.Certificate, now time.Time) []*x509.Certificate {
	all := slices.Clone(first)
	for _, ca := range valid(others, now) {
		if !slices.ContainsFunc(all, ca.Equal) {
			all = append(all, ca)
		}
	}
	return all
}
