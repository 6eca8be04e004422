package webhook

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// Limits of the API server for warnings. If all warnings of a request have more than maxWarnings runes together,
// including its own and those of other webhooks, it cuts each to maxWarning and drops the rest (apiserver,
// filters/warning.go). Our total is lower to leave room for others.
const (
	maxWarning  = 256
	maxWarnings = 3 << 10
	maxDenials  = 32
)

// line is the text that a user reads for one finding.
type line struct {
	field, message string
	weight         verdict.Weight
	pending        bool
	// reason is the problem's reason, for the metrics.
	reason string
	// others reports whether the problem is that of other objects.
	others bool
	// overruled reports whether the problem denies nothing, because of the annotation BreakGlassAnnotation.
	overruled bool
}

func (l line) String() string {
	return verdict.Problem{Field: l.field, Message: l.message}.String()
}

// phrase turns findings into lines, without duplicates: each problem of the user's own object, and a line for each
// group of problems of other objects.
func (v *validator) phrase(ctx context.Context, obj client.Object, request *admissionv1.AdmissionRequest,
	findings []translator.Finding,
) []line {
	changed := changedBy(request, obj)
	var lines []line
	var others []translator.Finding
	for _, f := range findings {
		if f.Object != changed {
			others = append(others, f)
			continue
		}
		p := f.Problem
		lines = append(lines, line{field: p.Field, message: p.Message, weight: p.Weight, pending: p.Pending, reason: p.Reason})
	}
	reader := v.reader(request)
	for _, g := range grouped(changed, others) {
		for _, l := range g.lines(ctx, changed, reader) {
			l.others = true
			lines = append(lines, l)
		}
	}
	seen := map[line]bool{}
	return slices.DeleteFunc(lines, func(l line) bool {
		l.reason, l.others = "", false
		twice := seen[l]
		seen[l] = true
		return twice
	})
}

// changedBy refers to the object of a request.
func changedBy(request *admissionv1.AdmissionRequest, obj client.Object) verdict.Ref {
	return verdict.Ref{
		Group: request.Kind.Group, Kind: request.Kind.Kind, Namespace: obj.GetNamespace(), Name: obj.GetName(),
	}
}

// respond turns lines into the answer for a namespace with that level. It denies what AdmissionRules deny in any case.
func respond(request *admissionv1.AdmissionRequest, level Level, lines []line, warnings []string,
	ruled []line,
) *admissionv1.AdmissionResponse {
	var denials []line
	for _, l := range lines {
		if level.denies(l) {
			denials = append(denials, l)
		} else {
			warnings = append(warnings, l.String())
		}
	}
	denials = append(denials, ruled...)
	response := &admissionv1.AdmissionResponse{Allowed: len(denials) == 0, Warnings: fit(warnings)}
	if len(denials) > 0 {
		response.Result = denial(request, denials)
	}
	return response
}

// denial lists all reasons at once, as text and as causes, which kubectl shows one per line.
func denial(request *admissionv1.AdmissionRequest, lines []line) *metav1.Status {
	kind := schema.GroupKind{Group: request.Kind.Group, Kind: request.Kind.Kind}
	details := &metav1.StatusDetails{Name: request.Name, Group: kind.Group, Kind: kind.Kind}
	var text []string
	for i, l := range lines {
		if i == maxDenials {
			text = append(text, fmt.Sprintf("and %d more", len(lines)-i))
			break
		}
		text = append(text, l.String())
		details.Causes = append(details.Causes, metav1.StatusCause{
			Type: metav1.CauseTypeFieldValueInvalid, Field: l.field, Message: l.message,
		})
	}
	return &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: strings.Join(text, "\n"), Details: details,
	}
}

// fit shortens warnings to the limits of the API server.
func fit(warnings []string) []string {
	var kept []string
	total := 0
	for i, w := range warnings {
		w = cut(w, maxWarning)
		total += utf8.RuneCountInString(w)
		if total > maxWarnings {
			return append(kept, fmt.Sprintf("%d more warnings: see the object's status", len(warnings)-i))
		}
		kept = append(kept, w)
	}
	return kept
}

// cut shortens a text to a number of runes. It removes the middle, because the end says how to fix the problem.
func cut(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	const gap = "…"
	head := (most - 1) / 2
	return string(runes[:head]) + gap + string(runes[len(runes)-(most-1-head):])
}
