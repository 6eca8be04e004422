package translator

import (
	"fmt"
	"time"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// conditionCurrent is False on a listener with a certificate that is valid, and that has to be replaced: it expires
// soon, or its renewal is late.
const conditionCurrent = "CertificateCurrent"

// Reasons of that.
const (
	reasonExpiresSoon = "CertificateExpiresSoon"
	reasonOverdue     = "RenewalOverdue"
)

// DefaultExpiryWarning is how long before a certificate expires the status tells of it, unless its lifetime is short.
const DefaultExpiryWarning = 14 * 24 * time.Hour

func (s *Settings) expiryWarning() time.Duration {
	if s.ExpiryWarning > 0 {
		return s.ExpiryWarning
	}
	return DefaultExpiryWarning
}

// endingRow is a certificate that has to be replaced.
type endingRow struct {
	Reason string
	// Words fit behind "Secret namespace/name ".
	Words string
}

// endingCertificate checks whether a certificate has to be replaced. Others have no row, nor have those that are not
// valid now.
func (t *Tables) endingCertificate(r *flow.Read, key string, row *certificateRow) (endingRow, bool) {
	now, ok := t.in.clock.Get(r, clockKey)
	if !ok || row.Pair == nil || row.Pair.At(now) != nil {
		return endingRow{}, false
	}
	expiry := row.Pair.NotAfter.UTC().Format(time.RFC3339)
	by, planned := t.issuances.Get(r, key)
	planned = planned && !by.Due.IsZero() && by.Due.Before(row.Pair.NotAfter)
	switch {
	case planned && now.Before(row.Pair.Overdue(by.Due)):
		return endingRow{}, false // cert-manager renews it in time, even if that is soon before it expires.
	case !now.Before(row.Pair.EndsSoon(t.settings.expiryWarning())):
		return endingRow{reasonExpiresSoon, "has a certificate that expires soon, at " + expiry}, true
	case !planned:
		return endingRow{}, false
	}
	return endingRow{reasonOverdue, fmt.Sprintf("has a certificate whose renewal was due at %s, and which expires at %s",
		by.Due.Format(time.RFC3339), expiry)}, true
}

// tellEnding reports that a certificate of the listener has to be replaced, and what cert-manager does about it.
func (t *Tables) tellEnding(r *flow.Read, l *listenerRow, field string, secret verdict.Ref) {
	key := Key(secret.Namespace, secret.Name)
	row, ok := t.ending.Get(r, key)
	own := secret.Namespace == l.owner().GetNamespace()
	if !ok || row.Reason == reasonOverdue && !own {
		return // Certificates of other namespaces are nobody else's business.
	}
	what := "issue a new one"
	by, made := t.issuances.Get(r, key)
	switch {
	case !made || !own:
	case by.Waits == "":
		what = fmt.Sprintf("cert-manager issues the next one %s, and has not begun: see whether it runs, and when it is to renew it", by)
	default:
		what = fmt.Sprintf("cert-manager issues the next one %s", by)
	}
	l.problem(verdict.Problem{
		Field: field, Condition: conditionCurrent, Reason: row.Reason, Weight: verdict.Notice,
		Message: fmt.Sprintf("Secret %s %s: %s", key, row.Words, what),
	})
}
