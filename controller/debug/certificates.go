package debug

import (
	"net/http"
	"strings"
	"time"

	"gatehouse/translator"
)

// certificates shows each certificate in use, with a row for each place where it is used.
func (s *Server) certificates(w http.ResponseWriter, r *http.Request) {
	all, err := s.World.Certificates(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	uses, err := s.World.CertificateUses(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	p := page{Title: "Certificates in use", Columns: []string{
		"Secret", "used by", "served", "issuer", "not before", "not after", "last rotation", "what is wrong",
	}}
	for i := range all {
		c := &all[i]
		key := translator.Key(c.Namespace, c.Name)
		shown := rowLink("certificates", key, key)
		if c.Issuer == "" && c.Wrong == "does not exist" {
			shown.Href = ""
		}
		for _, use := range uses[key] {
			p.Rows = append(p.Rows, certificateCells(shown, c, usedBy(&use), use.Served, strings.Join(use.Problems, "; ")))
		}
		if len(uses[key]) == 0 { // The tables have changed in between.
			p.Rows = append(p.Rows, certificateCells(shown, c, "", false, c.Wrong))
		}
	}
	own := s.Own()
	p.Rows = append(p.Rows, certificateCells(cell{Text: translator.Key(own.Namespace, own.Name)}, &own,
		"the control plane, for xDS and the webhook", own.Valid, own.Wrong))
	p.Text = "Served is what a new Envoy gets. Envoys that run keep what they have when a Secret breaks or goes.\n" +
		"A rotation is known if it was since this replica started."
	show(w, r, p)
}

func certificateCells(secret cell, c *translator.Certificate, by string, served bool, wrong string) []cell {
	words := map[bool]string{true: "yes", false: "no"}
	return []cell{
		secret,
		{Text: by},
		{Text: words[served]},
		{Text: c.Issuer},
		moment(c.NotBefore), moment(c.NotAfter), moment(c.Rotated),
		{Text: wrong},
	}
}

// moment is a time, or nothing if there is none.
func moment(t time.Time) cell {
	if t.IsZero() {
		return cell{}
	}
	return cell{Text: t.UTC().Format(time.RFC3339)}
}

// usedBy names the object that uses a certificate, and where.
func usedBy(use *translator.CertificateUse) string {
	owner := use.Owner.Kind + " " + translator.Key(use.Owner.Namespace, use.Owner.Name)
	if use.Listener != "" {
		return owner + ", listener " + use.Listener
	}
	return owner + ", " + use.Field
}
