package translator

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Certificate is the certificate of a Secret that a listener or a policy uses.
type Certificate struct {
	// Namespace and Name are those of the Secret.
	Namespace, Name string
	// Issuer is who issued it, as the certificate says. NotBefore and NotAfter limit its validity. They are zero if the Secret
	// has no certificate that can be read.
	Issuer              string
	NotBefore, NotAfter time.Time
	// Valid reports whether it can be read and is valid now.
	Valid bool
}

// Certificates lists the certificates in use that exist, by namespace and name of their Secrets.
func (w *World) Certificates(ctx context.Context) ([]Certificate, error) {
	if err := w.turn.await(ctx); err != nil {
		return nil, fmt.Errorf("wait for the tables: %w", err)
	}
	defer w.turn.unlock()
	r := w.engine.Read()
	rows := w.tables.certs.All(r)
	all := make([]Certificate, 0, len(rows))
	for _, row := range rows {
		namespace, name, _ := strings.Cut(row.Key, "/")
		c := Certificate{Namespace: namespace, Name: name}
		if pair := row.Value.Pair; pair != nil {
			_, untimely := w.tables.untimely.Get(r, row.Key)
			c.Issuer, c.NotBefore, c.NotAfter, c.Valid = pair.Issuer, pair.NotBefore, pair.NotAfter, !untimely
		}
		all = append(all, c)
	}
	return all, nil
}
