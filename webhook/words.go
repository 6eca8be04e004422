package webhook

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
}

func (l line) String() string {
	return verdict.Problem{Field: l.field, Message: l.message}.String()
}

// phrase turns findings into lines, without duplicates. A problem of another object includes the object's name if it is
// in the same namespace, or if the user's own object names it. Otherwise the line contains no more than a tenant may
// know.
func phrase(obj client.Object, request *admissionv1.AdmissionRequest, findings []translator.Finding) ([]line, error) {
	var lines []line
	seen := map[line]bool{}
	var own map[string]any
	for _, f := range findings {
		l := line{field: f.Problem.Field, message: f.Problem.Message, weight: f.Problem.Weight, pending: f.Problem.Pending}
		if !isOwn(f.Object, obj, request) {
			if own == nil {
				var err error
				if own, err = runtime.DefaultUnstructuredConverter.ToUnstructured(obj); err != nil {
					return nil, fmt.Errorf("reading the references of the object: %w", err)
				}
			}
			if f.Object.Namespace == obj.GetNamespace() || names(own, f.Object) {
				l.field = strings.TrimSpace(f.Object.String() + " " + l.field)
			} else {
				l = discreet(obj, request.Kind.Kind, f)
			}
		}
		if !seen[l] {
			seen[l] = true
			lines = append(lines, l)
		}
	}
	return lines, nil
}

func isOwn(ref verdict.Ref, obj client.Object, request *admissionv1.AdmissionRequest) bool {
	return ref == verdict.Ref{
		Group: request.Kind.Group, Kind: request.Kind.Kind, Namespace: obj.GetNamespace(),
		Name: obj.GetName(),
	}
}

// names reports whether the user's object contains a reference to the object.
func names(value any, ref verdict.Ref) bool {
	switch v := value.(type) {
	case map[string]any:
		if v["name"] == ref.Name && v["namespace"] == ref.Namespace && (v["kind"] == nil || v["kind"] == ref.Kind) {
			return true
		}
		for _, field := range v {
			if names(field, ref) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if names(item, ref) {
				return true
			}
		}
	}
	return false
}

// discreet reports a problem of another tenant's object without its name. It says what is wrong if the message is about
// the user's own object and contains no name of the other's.
func discreet(obj client.Object, kind string, f translator.Finding) line {
	l := line{field: "spec", weight: f.Problem.Weight, pending: f.Problem.Pending}
	if kind == "Secret" || kind == "ConfigMap" {
		l.field = "data"
	}
	if f.Problem.Outside != "" {
		l.message = f.Problem.Outside
		return l
	}
	message := f.Problem.Message
	about := strings.Contains(message, kind+" "+translator.Key(obj.GetNamespace(), obj.GetName()))
	if about && !strings.Contains(message, f.Object.Namespace) && !strings.Contains(message, f.Object.Name) {
		l.message = fmt.Sprintf("%s (a %s of another namespace uses it)", message, f.Object.Kind)
		return l
	}
	l.message = fmt.Sprintf("with this, a %s of another namespace that uses this %s would be %s (%s): keep what it relies on, or agree with its owners first",
		f.Object.Kind, kind, f.Problem.Weight, f.Problem.Reason)
	return l
}

// respond turns lines into the answer for a namespace with that level. It denies what AdmissionRules deny in any case.
func respond(request *admissionv1.AdmissionRequest, level Level, lines []line, warnings []string,
	ruled []line,
) *admissionv1.AdmissionResponse {
	var denials []line
	for _, l := range lines {
		if level.Denies(l.weight) && !l.pending {
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
