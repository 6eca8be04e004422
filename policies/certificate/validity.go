package certificate

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Untimely says why a certificate is not valid at a time.
type Untimely struct {
	// Words fit behind "Secret namespace/name ".
	Words string
	// Early reports whether it will become valid.
	Early bool
}

// leeway is how much earlier than it says a certificate counts as valid. Issuers such as cert-manager make certificates that
// are valid from the second in which they are issued, clocks of machines differ, and the caller's may be late.
const leeway = time.Minute

// begin is the first moment in which the certificate counts as valid.
func (p *Pair) begin() time.Time { return p.NotBefore.Add(-leeway) }

// At returns why the certificate is not valid at a time; nil if it is.
func (p *Pair) At(now time.Time) *Untimely {
	switch {
	case now.Before(p.begin()):
		return &Untimely{
			Early: true,
			Words: fmt.Sprintf("has a certificate that is not valid before %s; until then clients refuse it: keep the old one, or wait", stamp(p.NotBefore)),
		}
	case !now.Before(p.end()):
		return &Untimely{Words: fmt.Sprintf("has a certificate that expired at %s: issue a new one", stamp(p.NotAfter))}
	case p.Staple != nil && p.Staple.Required && !now.Before(p.Staple.end()):
		return &Untimely{Words: fmt.Sprintf("has a certificate that asks for an OCSP response (must-staple), and the one in %s was good until %s: fetch a new one", StapleKey, stamp(p.Staple.NextUpdate))}
	}
	return nil
}

// EndsSoon is the moment from which on the certificate ends soon: that long before its last second, or, if this is
// shorter, three tenths of its lifetime. That is a little less than the third that cert-manager leaves when it renews a
// certificate.
func (p *Pair) EndsSoon(before time.Duration) time.Time {
	return p.NotAfter.Add(-min(before, p.lifetime()/10*3))
}

// Overdue is the moment from which on a renewal is late that was due at a time: a hundredth of the lifetime later, which
// an issuer may take.
func (p *Pair) Overdue(due time.Time) time.Time { return due.Add(p.lifetime() / 100) }

func (p *Pair) lifetime() time.Duration { return p.NotAfter.Sub(p.NotBefore) }

// Next is the first moment after now at which At gives another answer, or at which the certificate ends soon; zero if
// there is none.
func (p *Pair) Next(now time.Time, before time.Duration) time.Time {
	moments := []time.Time{p.begin(), p.EndsSoon(before), p.end()}
	if p.Staple != nil && p.Staple.Required {
		moments = append(moments, p.Staple.end())
	}
	moments = slices.DeleteFunc(moments, func(m time.Time) bool { return !m.After(now) })
	if len(moments) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(moments, time.Time.Compare)
}

// end is the first moment in which the certificate is no longer valid; certificates have a resolution of seconds, and
// are valid in the last one.
func (p *Pair) end() time.Time { return p.NotAfter.Add(time.Second) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// For reports whether the certificate is valid for the hostname of a listener, or for some of the hosts that a wildcard
// stands for.
func (p *Pair) For(hostname string) bool {
	return slices.ContainsFunc(p.Names, func(name string) bool {
		return name == hostname || name == Wildcard(hostname) || below(name, hostname)
	})
}

// Wildcard is the wildcard in a certificate that would cover the host, empty for a wildcard and for a name that no
// wildcard can cover. It stands for one label (RFC 9525, section 6.3).
func Wildcard(host string) string {
	label, parent, ok := strings.Cut(host, ".")
	if !ok || label == "*" || label == "" {
		return ""
	}
	return "*." + parent
}

// below reports whether the name is at any depth below a listener's wildcard, which stands for any number of labels.
func below(name, wildcard string) bool {
	suffix, ok := strings.CutPrefix(wildcard, "*")
	return ok && strings.HasSuffix(name, suffix)
}

// Listed returns a text with some of the names.
func Listed(names []string) string {
	if len(names) <= maxNameWords {
		return fmt.Sprintf("%q", names)
	}
	return fmt.Sprintf("%q and %d more", names[:maxNameWords], len(names)-maxNameWords)
}
