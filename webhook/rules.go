package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
)

// auditKey is the key of the audit annotation with the violations of rules of severity audit, and with those that are
// excepted. The API server puts the name of the webhook before it.
const auditKey = "rules"

// ruled is what AdmissionRules say about a request.
type ruled struct {
	denials []line
	warned  []string
	audited []string
}

// judge evaluates the rules that are about the request. It returns an error only if ctx ends, or if it cannot be known
// which rules apply.
func (b *RuleBook) judge(ctx context.Context, request *admissionv1.AdmissionRequest,
	effects func() (*admissionrule.Effects, error),
) ([]admissionrule.Finding, error) {
	if b == nil {
		return nil, nil
	}
	kind, known := admissionrule.ResourceOf(kindOf(request))
	rules := b.about(kind)
	if !known || len(rules) == 0 {
		return nil, nil
	}
	ctx, span := stage(ctx, "evaluate rules")
	defer span.End()
	in, err := b.input(ctx, kind, request)
	if err != nil || in == nil {
		return nil, err
	}
	in.Effects = effects
	var all []admissionrule.Finding
	for _, r := range rules {
		findings, err := r.Judge(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, findings...)
	}
	return all, nil
}

// say turns findings into an answer, and counts them.
func (b *RuleBook) say(request *admissionv1.AdmissionRequest, findings []admissionrule.Finding) (out ruled) {
	for i := range findings {
		b.take(&out, request, &findings[i])
	}
	return out
}

// input is the request in the form of rules; nil if it is one that no rule is about: a status, a change of an object that
// is being deleted, a deletion by Kubernetes itself, and a change that changes nothing.
func (b *RuleBook) input(ctx context.Context, kind admissionrule.Resource, request *admissionv1.AdmissionRequest) (
	*admissionrule.Input, error,
) {
	in := &admissionrule.Input{
		Resource: kind, Request: request, Exceptions: b.exceptionsIn, Now: b.options.Now(),
	}
	judged, err := read(in)
	if err != nil || !judged {
		return nil, err
	}
	if in.Namespace, err = b.namespace(ctx, request.Namespace); err != nil {
		return nil, err
	}
	in.Params = func(namespace, name string, selector labels.Selector) ([]*corev1.ConfigMap, error) {
		return b.Params(ctx, namespace, name, selector)
	}
	return in, nil
}

// read reads the objects of a request, and reports whether rules are about it.
func read(in *admissionrule.Input) (judged bool, err error) {
	request := in.Request
	deleted := request.Operation == admissionv1.Delete
	if request.Operation == admissionv1.Connect || request.SubResource != "" || deleted && unread(request.UserInfo) {
		return false, nil
	}
	if !deleted {
		if in.Object, err = fields(request.Object.Raw); err != nil {
			return false, fmt.Errorf("reading the object: %w", err)
		}
	}
	if request.Operation != admissionv1.Create && len(request.OldObject.Raw) > 0 {
		if in.OldObject, err = fields(request.OldObject.Raw); err != nil {
			return false, fmt.Errorf("reading the object as it is stored: %w", err)
		}
	}
	switch {
	case deleted:
		return in.OldObject != nil && !leaving(in.OldObject), nil
	case leaving(in.Object):
		return false, nil
	}
	return in.OldObject == nil || !reflect.DeepEqual(written(in.Object), written(in.OldObject)), nil
}

// written is the part of an object that its authors write.
func written(object map[string]any) map[string]any {
	part := maps.Clone(object)
	delete(part, "status")
	metadata, _ := object["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		delete(metadata, field)
	}
	part["metadata"] = metadata
	return part
}

// take adds a finding to the answer, to the metrics and, if the rule says so, to the log.
func (b *RuleBook) take(out *ruled, request *admissionv1.AdmissionRequest, f *admissionrule.Finding) {
	l := line{field: f.Field, message: f.Words(), weight: f.Weight}
	var how string
	switch {
	case f.Excepted:
		out.audited, how = append(out.audited, l.String()), "excepted"
		if f.EndsSoon {
			out.warned = append(out.warned, l.String())
		}
	case f.Denies():
		out.denials, how = append(out.denials, l), "denied"
	case f.Severity == rulesv1alpha1.SeverityAudit:
		out.audited, how = append(out.audited, l.String()), "audited"
	default:
		out.warned, how = append(out.warned, l.String()), "warned"
	}
	if dry(request) {
		return
	}
	if f.Failed {
		how = "failed"
	}
	b.found.WithLabelValues(f.Rule, how).Inc()
	if f.Severity == rulesv1alpha1.SeverityAudit {
		b.options.Log.Info("an object violates an AdmissionRule of severity audit", "rule", f.Rule,
			"operation", request.Operation, "group", request.Kind.Group, "kind", request.Kind.Kind,
			"namespace", request.Namespace, "name", request.Name, "user", request.UserInfo.Username, "problem", l.String())
	}
}

// annotate adds the violations of rules of severity audit to the audit log of the API server.
func (r *ruled) annotate(response *admissionv1.AdmissionResponse) error {
	if len(r.audited) == 0 {
		return nil
	}
	const most = 64 // An annotation for each request must stay small.
	text, err := json.Marshal(r.audited[:min(len(r.audited), most)])
	if err != nil {
		return fmt.Errorf("encoding the audit annotation: %w", err)
	}
	response.AuditAnnotations = map[string]string{auditKey: string(text)}
	return nil
}

// kindsOfRules are the kinds of rules themselves, and what is wrong with an object of them.
var kindsOfRules = map[string]func(context.Context, *RuleBook, []byte) ([]verdict.Problem, error){
	rulesv1alpha1.KindAdmissionRule:      problemsOfRule,
	rulesv1alpha1.KindAdmissionException: problemsOfException,
}

// isOfRules reports whether the request is about an AdmissionRule or an AdmissionException itself.
func isOfRules(request *admissionv1.AdmissionRequest) bool {
	return request.Kind.Group == rulesv1alpha1.GroupName && kindsOfRules[request.Kind.Kind] != nil
}

// review answers a request to store a rule or an exception. It denies problems that the stored version does not have.
func (b *RuleBook) review(ctx context.Context, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse,
	error,
) {
	changes := request.Operation == admissionv1.Create || request.Operation == admissionv1.Update
	if b == nil || !changes || request.SubResource != "" {
		return &admissionv1.AdmissionResponse{Allowed: true}, nil
	}
	find := kindsOfRules[request.Kind.Kind]
	problems, err := find(ctx, b, request.Object.Raw)
	if err != nil {
		return nil, err
	}
	before := map[verdict.Problem]bool{}
	if len(problems) > 0 && len(request.OldObject.Raw) > 0 {
		old, err := find(ctx, b, request.OldObject.Raw)
		if err != nil {
			return nil, err
		}
		for _, p := range old {
			before[p] = true
		}
	}
	var lines []line
	var warnings []string
	for _, p := range problems {
		if l := (line{field: p.Field, message: p.Message, weight: p.Weight}); before[p] {
			warnings = append(warnings, l.String())
		} else if !slices.Contains(lines, l) {
			lines = append(lines, l)
		}
	}
	return respond(request, LevelEnforce, lines, warnings, nil), nil
}

func problemsOfRule(ctx context.Context, b *RuleBook, raw []byte) ([]verdict.Problem, error) {
	rule := &rulesv1alpha1.AdmissionRule{}
	if err := json.Unmarshal(raw, rule); err != nil {
		return nil, fmt.Errorf("decoding the AdmissionRule: %w", err)
	}
	_, problems, err := admissionrule.Compile(ctx, rule, b.options.Schemas(ctx))
	return problems, err
}
