package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/event"
)

// BreakGlassAnnotation on an object lets changes of it pass in spite of denials. Its value is the reason; see
// docs/decisions/085-break-glass.md.
const BreakGlassAnnotation = "gatehouse.dev/break-glass"

// BreakGlass is what the annotation may overrule.
type BreakGlass string

const (
	// BreakGlassForbidden overrules nothing.
	BreakGlassForbidden BreakGlass = "forbidden"
	// BreakGlassVerdicts overrules what Gatehouse itself denies because of the object. It is the default.
	BreakGlassVerdicts BreakGlass = "verdicts"
	// BreakGlassRules overrules AdmissionRules too.
	BreakGlassRules BreakGlass = "rules"
)

// ParseBreakGlass parses a flag.
func ParseBreakGlass(s string) (BreakGlass, error) {
	switch b := BreakGlass(s); b {
	case BreakGlassForbidden, BreakGlassVerdicts, BreakGlassRules:
		return b, nil
	}
	return "", fmt.Errorf("%q is unknown: use forbidden, verdicts or rules", s)
}

// plea is the annotation of an object that is written.
type plea struct {
	reason string
	// refused says why it overrules nothing; empty if it may.
	refused string
	// overruled are the lines that would have denied the change.
	overruled []line
}

const (
	// pleaField is the path of the annotation.
	pleaField = "metadata.annotations[" + BreakGlassAnnotation + "]"
	// maxReason is how many runes of a reason are repeated, and maxNote how many an Event has.
	maxReason = 64
	maxNote   = 1000
	// eventTime is how long an answer waits for its Event. The change is admitted without it too.
	eventTime = time.Second
)

// plea returns the annotation of the object; nil if it has none, or if it is no object that is being written.
func (v *validator) plea(request *admissionv1.AdmissionRequest) (*plea, error) {
	if request.Operation != admissionv1.Create && request.Operation != admissionv1.Update || request.SubResource != "" ||
		!bytes.Contains(request.Object.Raw, []byte(BreakGlassAnnotation)) { // Hardly any object has it.
		return nil, nil
	}
	object := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(request.Object.Raw, object); err != nil {
		return nil, fmt.Errorf("reading the metadata: %w", err)
	}
	value, given := object.Annotations[BreakGlassAnnotation]
	if !given || object.DeletionTimestamp != nil {
		return nil, nil
	}
	p := &plea{reason: strings.TrimSpace(value)}
	switch {
	case v.breakGlass == BreakGlassForbidden:
		p.refused = "it overrules nothing, because this installation forbids it: remove it"
	case p.reason == "":
		p.refused = fmt.Sprintf("%q is not a reason, so nothing is overruled: write why it is needed", value)
	}
	return p, nil
}

// overrule marks what the annotation overrules. It overrules all denials of the change, or none: a change that is denied
// anyway is told every reason.
func (v *validator) overrule(p *plea, level Level, lines []line, rules *ruled) {
	if p == nil || p.refused != "" {
		return
	}
	var denials []line
	for _, l := range lines {
		if level.denies(l) {
			denials = append(denials, l)
		}
	}
	switch {
	case slices.ContainsFunc(denials, func(l line) bool { return l.others }):
		p.refused = "it overrules nothing here, because other objects would be affected: correct what is denied"
	case len(rules.denials) > 0 && v.breakGlass != BreakGlassRules:
		p.refused = "it overrules no rule of the platform, so nothing is overruled: correct what is denied"
	}
	if p.refused != "" {
		return
	}
	for i := range lines {
		lines[i].overruled = level.denies(lines[i])
	}
	for _, l := range rules.denials {
		rules.warned = append(rules.warned, l.String())
	}
	p.overruled = append(denials, rules.denials...)
	rules.denials = nil
}

// warning is what the user is told of the annotation at each change. So it does not stay without being seen.
func (p *plea) warning() string {
	because := p.reason
	if runes := []rune(because); len(runes) > maxReason {
		because = string(runes[:maxReason]) + "…"
	}
	said := p.refused
	switch {
	case said != "":
	case len(p.overruled) > 0:
		said = fmt.Sprintf("%q overrules what would be denied, and is reported: correct the object, and then remove the annotation", because)
	default:
		said = fmt.Sprintf("%q would overrule denials of this object: remove it as soon as it is not needed", because)
	}
	return pleaField + ": " + said
}

// record is what the audit log of the API server gets.
type record struct {
	Reason    string   `json:"reason"`
	Overruled []string `json:"overruled,omitempty"`
	Refused   string   `json:"refused,omitempty"`
}

// maxOverruled is how many lines a record has.
const maxOverruled = 16

// record reports the annotation: to the audit log of the API server, in the metrics, and if it overruled something, in
// the log and in an Event. A dry run only gets the audit annotation, which is a part of the answer.
func (v *validator) record(ctx context.Context, request *admissionv1.AdmissionRequest, p *plea,
	response *admissionv1.AdmissionResponse,
) error {
	r := record{Reason: cut(p.reason, maxNote), Refused: p.refused}
	for _, l := range p.overruled[:min(len(p.overruled), maxOverruled)] {
		r.Overruled = append(r.Overruled, cut(l.String(), maxNote))
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding the audit annotation: %w", err)
	}
	if response.AuditAnnotations == nil {
		response.AuditAnnotations = map[string]string{}
	}
	response.AuditAnnotations["break-glass"] = string(text)
	if dry(request) {
		return nil
	}
	v.counts.broke(p)
	if len(p.overruled) == 0 {
		return nil
	}
	v.log.Info("a denial is overruled by the annotation "+BreakGlassAnnotation, "operation", request.Operation,
		"group", request.Kind.Group, "kind", request.Kind.Kind, "namespace", request.Namespace, "name", request.Name,
		"user", request.UserInfo.Username, "reason", r.Reason, "problems", r.Overruled)
	if v.events == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, eventTime)
	defer cancel()
	if err := v.events.Create(limited, overruledEvent(request, p)); err != nil {
		v.log.Error(err, "Event not created", "kind", request.Kind.Kind, "namespace", request.Namespace, "name", request.Name)
	}
	return nil
}

// overruledEvent is the Event about a change that was admitted by the annotation.
func overruledEvent(request *admissionv1.AdmissionRequest, p *plea) *corev1.Event {
	object := &metav1.PartialObjectMetadata{}
	_ = json.Unmarshal(request.Object.Raw, object) // It was read before.
	about := corev1.ObjectReference{
		APIVersion: metav1.GroupVersion{Group: request.Kind.Group, Version: request.Kind.Version}.String(),
		Kind:       request.Kind.Kind, Namespace: request.Namespace, Name: object.Name, UID: object.UID,
	}
	said := fmt.Sprintf("%s by %s, with the reason %q, overruled: %s", request.Operation, request.UserInfo.Username,
		cut(p.reason, maxReason), p.overruled[0])
	if more := len(p.overruled) - 1; more > 0 {
		said += fmt.Sprintf("; and %d more", more)
	}
	return event.Warning(about, "BreakGlass", cut(said, maxNote), string(request.UID))
}

// Events creates the Events of admission.
type Events interface {
	Create(ctx context.Context, event client.Object, options ...client.CreateOption) error
}
