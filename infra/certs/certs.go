// Package certs provides the serving certificate of the control plane, from its own CA or from cert-manager. It is in one
// Secret that all replicas share, together with the CAs that clients trust. It is renewed long before it expires, and all
// clients trust it during the whole time, also while it changes to another CA.
package certs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The defaults of the settings.
const (
	DefaultSecret       = "gatehouse"
	DefaultLeafLifetime = 90 * 24 * time.Hour
	DefaultCALifetime   = 5 * 365 * 24 * time.Hour
)

// Settings say which certificates are kept, and where.
type Settings struct {
	// Namespace and Secret name the Secret; an empty Secret means DefaultSecret.
	Namespace, Secret string
	// DNSNames are the names that the certificate is for.
	DNSNames []string
	// Client reports whether it is for clients too.
	Client bool
	// LeafLifetime and CALifetime are how long a new certificate is valid; it is renewed after two thirds of that time.
	// Zero means the default.
	LeafLifetime, CALifetime time.Duration
	// From is the name of another Secret in Namespace, which cert-manager fills with the certificate to serve; its ca.crt is
	// what clients must trust. Empty means the own CA, which also serves until cert-manager has filled the Secret.
	From string
	// Overlap is how long clients may take to learn of the CAs of another certificate, before it is served; zero means the
	// default.
	Overlap time.Duration
}

// ServiceNames returns the names of a Service inside the cluster.
func ServiceNames(service, namespace, clusterDomain string) []string {
	return []string{
		service,
		service + "." + namespace,
		service + "." + namespace + ".svc",
		service + "." + namespace + ".svc." + clusterDomain,
	}
}

func (s Settings) withDefaults() Settings {
	if s.Secret == "" {
		s.Secret = DefaultSecret
	}
	if s.LeafLifetime == 0 {
		s.LeafLifetime = DefaultLeafLifetime
	}
	if s.CALifetime == 0 {
		s.CALifetime = DefaultCALifetime
	}
	if s.Overlap == 0 {
		s.Overlap = DefaultOverlap
	}
	return s
}

func (s Settings) key() client.ObjectKey {
	return client.ObjectKey{Namespace: s.Namespace, Name: s.Secret}
}

// The keys of the Secret. ca.crt may contain several certificates: the signing one first, then previous ones that are
// still valid.
const (
	caCertKey = "ca.crt"
	caKeyKey  = "ca.key"
)

// The annotations of the Secret. annotationFrom names the Secret from which its certificate comes, and annotationSince is
// the time (RFC 3339) of the last change in a handover. annotationInject lets cert-manager's cainjector read ca.crt.
const (
	annotationFrom   = "gatehouse.dev/certificate-from"
	annotationSince  = "gatehouse.dev/certificate-since"
	annotationInject = "cert-manager.io/allow-direct-injection"
)

// annotationCertManager is on Secrets that cert-manager writes. They are used, but never written to.
const annotationCertManager = "cert-manager.io/certificate-name"

// attempts is how often a write is tried if other replicas interfere.
const attempts = 5

// EnsureServing creates or renews the Secret if necessary, and returns its content. Replicas may do it at the same
// time: one of them writes, and the others read the result. A Secret without the CA's key comes from somebody else, and
// is used as it is.
func EnsureServing(ctx context.Context, c client.Client, s Settings) (*Serving, error) {
	return ensure(ctx, c, s.withDefaults(), nil, create)
}

// Replace makes a new CA and a new certificate in any case. Clients that trust the old CA trust the new one, unless the
// old Secret is invalid or gone.
func Replace(ctx context.Context, c client.Client, s Settings) (*Serving, error) {
	return ensure(ctx, c, s.withDefaults(), nil, replace)
}

// purpose is what somebody wants of the Secret.
type purpose int

const (
	create  purpose = iota // a certificate that works, from wherever
	serve                  // that of the settings, in steps
	replace                // a new CA of its own
)

// ensure restores known if the Secret is gone or invalid; known is nil if nothing is known.
func ensure(ctx context.Context, c client.Client, s Settings, known *Serving, want purpose) (*Serving, error) {
	var last error
	for range attempts {
		current, err := tryEnsure(ctx, c, s, known, want)
		if err == nil {
			return current, nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return nil, err
		}
		last = err
	}
	return nil, fmt.Errorf("others keep writing to Secret %s: %w", s.key(), last)
}

func tryEnsure(ctx context.Context, c client.Client, s Settings, known *Serving, want purpose) (*Serving, error) {
	secret := &corev1.Secret{}
	err := c.Get(ctx, s.key(), secret)
	absent := apierrors.IsNotFound(err)
	if err != nil && !absent {
		return nil, fmt.Errorf("reading Secret %s: %w", s.key(), err)
	}
	stored, broken := read(secret)
	if secret.Annotations[annotationCertManager] != "" {
		if broken != nil {
			return nil, fmt.Errorf("reading Secret %s, which cert-manager fills: %w", s.key(), broken)
		}
		return stored, nil
	}
	if broken != nil {
		stored = known
	}
	now := time.Now()
	source, waiting := readSource(ctx, c, s, now)
	wanted, err := next(stored, source, s, now, want)
	if err != nil {
		return nil, fmt.Errorf("renewing the certificates of Secret %s: %w", s.key(), err)
	}
	if wanted != stored || stored.ours() && (broken != nil || secret.Annotations[annotationInject] == "") {
		err = write(ctx, c, s, secret, wanted)
	}
	served := *wanted
	served.waiting = waiting
	return &served, err
}

// read parses the Secret.
func read(secret *corev1.Secret) (*Serving, error) {
	s, err := parse(secret.Data)
	if err != nil {
		return nil, err
	}
	s.from = secret.Annotations[annotationFrom]
	// Without a time, or with a malformed one, the last change was long ago.
	s.since, _ = time.Parse(time.RFC3339, secret.Annotations[annotationSince])
	return s, nil
}

// write stores the certificates, in a new Secret if there was none. It returns a conflict if the Secret has been
// written since it was read.
func write(ctx context.Context, c client.Client, s Settings, secret *corev1.Secret, wanted *Serving) error {
	data, err := wanted.data()
	if err != nil {
		return fmt.Errorf("encoding the certificates of Secret %s: %w", s.key(), err)
	}
	if secret.ResourceVersion == "" {
		fresh := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.Namespace, Name: s.Secret,
				Labels: map[string]string{"app.kubernetes.io/name": "gatehouse", "app.kubernetes.io/managed-by": "gatehouse"},
			},
			Type: corev1.SecretTypeTLS,
			Data: data,
		}
		wanted.annotate(fresh)
		if err := c.Create(ctx, fresh); err != nil {
			return fmt.Errorf("creating Secret %s: %w", s.key(), err)
		}
		return nil
	}
	changed := secret.DeepCopy()
	changed.Data = maps.Clone(changed.Data)
	if changed.Data == nil {
		changed.Data = map[string][]byte{}
	}
	maps.Copy(changed.Data, data)
	if wanted.caKey == nil {
		delete(changed.Data, caKeyKey)
	}
	wanted.annotate(changed)
	if err := c.Update(ctx, changed); err != nil {
		return fmt.Errorf("updating Secret %s: %w", s.key(), err)
	}
	return nil
}

// annotate writes what is not in the data of the Secret.
func (s *Serving) annotate(secret *corev1.Secret) {
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	secret.Annotations[annotationInject] = "true"
	delete(secret.Annotations, annotationFrom)
	delete(secret.Annotations, annotationSince)
	if s.from != "" {
		secret.Annotations[annotationFrom] = s.from
	}
	if !s.since.IsZero() {
		secret.Annotations[annotationSince] = s.since.UTC().Format(time.RFC3339Nano)
	}
}

// errNothing is the reason why an empty Secret cannot be used.
var errNothing = errors.New("there is no certificate in it")
