package translator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// Certificate is the certificate of a Secret that a listener, a policy or a Gateway uses.
type Certificate struct {
	// Namespace and Name are those of the Secret.
	Namespace, Name string
	// Issuer is who issued it, as the certificate says. NotBefore and NotAfter limit its validity. They are zero if the Secret
	// has no certificate that can be read.
	Issuer              string
	NotBefore, NotAfter time.Time
	// Valid reports whether the certificate can be read and is valid now. ExpiresSoon reports whether it expires soon, as
	// the status of the objects that use it says.
	Valid, ExpiresSoon bool
	// Issued reports whether cert-manager issues it, and Pending whether the first or the next one is still to come and is
	// being issued, has failed, or is overdue.
	Issued, Pending bool
	// Rotated is when the certificate was last replaced by another one; zero for not since this process began to use it.
	Rotated time.Time
	// Wrong says why it cannot be used, and that it has to be replaced; empty if it is in order.
	Wrong string
}

// CertificateUse is a place where a certificate is used.
type CertificateUse struct {
	// Owner is the object that refers to the Secret. Field is the path of the reference, and Listener the name of the
	// listener that it belongs to; empty if it belongs to none.
	Owner           verdict.Ref
	Field, Listener string
	// Served reports whether a new Envoy gets the certificate for this use.
	Served bool
	// Problems are those that the status of the owner tells about the reference.
	Problems []string
}

// Certificates lists the certificates in use, by namespace and name of their Secrets, whether or not these exist.
func (w *World) Certificates(ctx context.Context) ([]Certificate, error) {
	if err := w.turn.await(ctx); err != nil {
		return nil, fmt.Errorf("wait for the tables: %w", err)
	}
	defer w.turn.unlock()
	r := w.engine.Read()
	rows := w.tables.usedCerts.All(r)
	all := make([]Certificate, len(rows))
	for i, row := range rows {
		all[i] = w.tables.certificateInUse(r, row.Key)
		all[i].Rotated = w.rotated[row.Key]
	}
	return all, nil
}

func (t *Tables) certificateInUse(r *flow.Read, key string) Certificate {
	namespace, name, _ := strings.Cut(key, "/")
	c := Certificate{Namespace: namespace, Name: name}
	ending, ends := t.ending.Get(r, key)
	untimely, isUntimely := t.untimely.Get(r, key)
	row, found := t.certs.Get(r, key)
	switch {
	case !found:
		c.Wrong = "does not exist"
	case row.Broken != "":
		c.Wrong = row.Broken
	case isUntimely:
		c.Wrong = untimely.Words
	case ends:
		c.Wrong, c.ExpiresSoon = ending.Words, ending.Reason == reasonExpiresSoon
	}
	if found && row.Pair != nil {
		c.Issuer, c.NotBefore, c.NotAfter, c.Valid = row.Pair.Issuer, row.Pair.NotBefore, row.Pair.NotAfter, !isUntimely
	}
	if by, ok := t.issuances.Get(r, key); ok {
		c.Issued, c.Pending = true, by.Waits != "" || ends && ending.Reason == reasonOverdue
		if c.Pending && by.Waits != "" {
			c.Wrong = strings.TrimPrefix(c.Wrong+"; "+by.Waits, "; ")
		}
	}
	return c
}

// noteRotations remembers when certificates in use were replaced.
func (w *World) noteRotations(changes *flow.Changes) {
	r := w.engine.Read()
	for _, key := range flow.Changed(changes, w.tables.certs) {
		before, was := flow.Before(changes, w.tables.certs, key)
		switch row, ok := w.tables.certs.Get(r, key); {
		case !ok:
			delete(w.rotated, key)
		case was && row.Pair != nil && !row.equal(before):
			w.rotated[key] = w.now()
		}
	}
}

// CertificateUses lists where certificates are used, by namespace and name of their Secrets.
func (w *World) CertificateUses(ctx context.Context) (map[string][]CertificateUse, error) {
	if err := w.turn.await(ctx); err != nil {
		return nil, fmt.Errorf("wait for the tables: %w", err)
	}
	defer w.turn.unlock()
	t, r, uses := w.tables, w.engine.Read(), map[string][]CertificateUse{}
	for _, row := range t.listeners.All(r) {
		l := row.Value
		if l.Spec.TLS == nil {
			continue
		}
		for i, ref := range l.Spec.TLS.CertificateRefs {
			secret := secretOf(l.owner().GetNamespace(), ref)
			key := Key(secret.Namespace, secret.Name)
			uses[key] = append(uses[key], t.useByListener(r, l, l.field(fmt.Sprintf("tls.certificateRefs[%d]", i)), key))
		}
	}
	for _, row := range t.content.All(r) {
		u := row.Value
		if !u.Certificate || u.Field == "" {
			continue // Listeners are listed above.
		}
		key := Key(u.Target.Namespace, u.Target.Name)
		c := t.certificateInUse(r, key)
		use := CertificateUse{Owner: u.Owner, Field: u.Field, Served: c.Valid}
		if c.Wrong != "" {
			use.Problems = []string{fmt.Sprintf("Secret %s %s", key, c.Wrong)}
		}
		uses[key] = append(uses[key], use)
	}
	return uses, nil
}

func (t *Tables) useByListener(r *flow.Read, l *listenerRow, field, key string) CertificateUse {
	use := CertificateUse{Owner: l.ownerRef(), Field: field, Listener: string(l.Spec.Name)}
	row, found := t.certs.Get(r, key)
	q, _ := t.quarantines.Get(r, l.fleet())
	use.Served = found && row.Resource != nil && !t.early(r, key) && l.Serves && slices.Contains(l.Secrets, key) &&
		q.rejectedSecret("", "", row.Resource.Version) == nil
	for _, p := range l.Problems {
		if p.Field == field {
			use.Problems = append(use.Problems, p.Message)
		}
	}
	if !l.Serves {
		use.Problems = append(use.Problems, "the listener is not served, see its status")
	}
	return use
}
