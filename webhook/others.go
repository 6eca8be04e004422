package webhook

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

const (
	// maxNamed is how many objects of a group a line names.
	maxNamed = 3
	// maxAsked is how many kinds and namespaces the rights of the user are asked for in one request, and askTime the
	// time for it. Objects beyond that are not named.
	maxAsked = 16
	askTime  = 500 * time.Millisecond
)

// losses are what an object loses by a problem that another object's change adds, by the problem's reason. A feature
// that knows more says so in the problem's Loss.
var losses = map[string]string{
	verdict.ReasonNotGranted:     "its permission to refer to another namespace",
	"NoMatchingParent":           "its listener",
	"NotAllowedByListeners":      "its listener",
	"NoMatchingListenerHostname": "its listener",
	"BackendNotFound":            "a backend",
	"HostnameConflict":           "a hostname",
	"InvalidCertificateRef":      "a certificate",
	"InvalidCACertificateRef":    "CA certificates",
	"NoValidCACertificate":       "CA certificates",
	"CertificateForOtherHosts":   "the certificate for its hostname",
	reasonTargetNotFound:         "its target",
}

// outcomes are what happens to an object by a problem that another object's change adds, by the problem's weight.
var outcomes = map[verdict.Weight]string{
	verdict.Invalid: "stop working", verdict.Unresolved: "lack what is needed", verdict.Conflicted: "lose a conflict",
}

// reasonTargetNotFound is Gateway API's reason for a policy whose target does not exist.
const reasonTargetNotFound = "TargetNotFound"

// cause is what the problems of a group have in common: objects of one kind lose the same.
type cause struct {
	kind, reason, loss, message string
	weight                      verdict.Weight
	pending                     bool
}

// group are the problems with one cause of objects that the user did not change.
type group struct {
	cause    cause
	findings []translator.Finding
	// objects are the objects with these problems, each once, in the order of the findings.
	objects []verdict.Ref
}

// grouped sorts findings into groups, in the order of the first of each.
func grouped(changed verdict.Ref, findings []translator.Finding) []*group {
	var groups []*group
	byCause := map[cause]*group{}
	for _, f := range findings {
		p := f.Problem
		c := cause{kind: f.Object.Kind, reason: p.Reason, loss: p.Loss, weight: p.Weight, pending: p.Pending}
		if p.About != nil && *p.About == changed {
			c.message = p.Message
		}
		g := byCause[c]
		if g == nil {
			g = &group{cause: c}
			byCause[c] = g
			groups = append(groups, g)
		}
		g.findings = append(g.findings, f)
		if !slices.Contains(g.objects, f.Object) {
			g.objects = append(g.objects, f.Object)
		}
	}
	return groups
}

// reader knows what the user of one request may read. It asks as little as it can, and answers no if it cannot know.
type reader struct {
	access  Access
	request *admissionv1.AdmissionRequest
	until   time.Time
	answers map[verdict.Ref]bool
}

func (v *validator) reader(request *admissionv1.AdmissionRequest) *reader {
	return &reader{access: v.access, request: request, until: time.Now().Add(askTime), answers: map[verdict.Ref]bool{}}
}

// may reports whether the user may read the object.
func (r *reader) may(ctx context.Context, ref verdict.Ref) bool {
	if r.access == nil {
		return false
	}
	all := ref
	all.Name = ""
	allowed, asked := r.answers[all]
	if !asked && len(r.answers) < maxAsked {
		ctx, cancel := context.WithDeadline(ctx, r.until)
		defer cancel()
		may, err := r.access(ctx, r.request.UserInfo, ref)
		allowed = may && err == nil
		r.answers[all] = allowed
	}
	return allowed
}

// lines are the lines for a group. A single object that the user may read is reported with its own words. Otherwise the
// objects are counted, and named as far as the user may read them.
func (g *group) lines(ctx context.Context, changed verdict.Ref, r *reader) []line {
	if len(g.objects) == 1 && r.may(ctx, g.objects[0]) {
		lines := make([]line, 0, len(g.findings))
		for _, f := range g.findings {
			lines = append(lines, line{
				field:   strings.TrimSpace(f.Object.String() + " " + f.Problem.Field),
				message: f.Problem.Message, weight: f.Problem.Weight, pending: f.Problem.Pending, reason: f.Problem.Reason,
			})
		}
		return lines
	}
	l := line{field: "spec", weight: g.cause.weight, pending: g.cause.pending, reason: g.cause.reason}
	if changed.Kind == "Secret" || changed.Kind == "ConfigMap" {
		l.field = "data"
	}
	who, plural := g.who(ctx, changed, r)
	switch {
	case g.cause.message == "" && plural:
		l.message = fmt.Sprintf("with this, %s would %s: keep that for them, or agree with the owners first", who,
			g.fate(true))
	case g.cause.message == "":
		l.message = fmt.Sprintf("with this, %s would %s: keep that for it, or agree with the owners first", who,
			g.fate(false))
	case plural:
		l.message = fmt.Sprintf("%s (%s use it)", g.cause.message, who)
	default:
		l.message = fmt.Sprintf("%s (%s uses it)", g.cause.message, who)
	}
	return []line{l}
}

// fate is what happens to the objects, as an infinitive.
func (g *group) fate(plural bool) string {
	loss, known := losses[g.cause.reason]
	switch {
	case g.cause.loss != "":
		loss = g.cause.loss
	case known:
		loss = fmt.Sprintf("%s (%s)", loss, g.cause.reason)
	default:
		return fmt.Sprintf("%s (%s)", outcomes[g.cause.weight], g.cause.reason)
	}
	if plural {
		loss = strings.ReplaceAll(loss, "its ", "their ")
	}
	return "lose " + loss
}

// who counts the objects and names the first ones that the user may read. It also reports whether they are several.
func (g *group) who(ctx context.Context, changed verdict.Ref, r *reader) (who string, several bool) {
	var names []string
	elsewhere, count := 0, len(g.objects)
	for _, o := range g.objects {
		if o.Namespace != "" && o.Namespace != changed.Namespace {
			elsewhere++
		}
		if len(names) < maxNamed && r.may(ctx, o) {
			names = append(names, translator.Key(o.Namespace, o.Name))
		}
	}
	if several = count > 1; several {
		who = fmt.Sprintf("%d %s", count, plural(g.cause.kind))
	} else {
		who = article(g.cause.kind) + " " + g.cause.kind
	}
	switch {
	case elsewhere == count && several:
		who += " of other namespaces"
	case elsewhere == count:
		who += " of another namespace"
	}
	if rest := count - len(names); len(names) > 0 && rest > 0 {
		names = append(names, fmt.Sprintf("%d more", rest))
	}
	if len(names) > 0 {
		who += " (" + strings.Join(names, ", ") + ")"
	}
	return who, several
}

func article(kind string) string {
	if strings.ContainsAny(kind[:min(1, len(kind))], "AEHIX") {
		return "an"
	}
	return "a"
}

func plural(kind string) string {
	if stem, ok := strings.CutSuffix(kind, "y"); ok && strings.HasSuffix(kind, "Policy") {
		return stem + "ies"
	}
	return kind + "s"
}
