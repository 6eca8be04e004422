package webhook

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/older"
	"gatehouse/policies"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// Trier computes the effect of a change on the live tables.
type Trier interface {
	// Try returns the problems that storing obj would add to any object: to obj itself, and to objects that use it,
	// such as the listeners that use a Secret. It stops when ctx ends.
	Try(ctx context.Context, obj client.Object) ([]translator.Finding, error)
}

// TrierFunc is a function that implements Trier.
type TrierFunc func(context.Context, client.Object) ([]translator.Finding, error)

// Try calls the function.
func (f TrierFunc) Try(ctx context.Context, obj client.Object) ([]translator.Finding, error) {
	return f(ctx, obj)
}

// validator decides whether objects may be stored.
type validator struct {
	trier Trier
	// deletions tries deletions; nil allows them without a look.
	deletions Trier
	// effective is for rules that read the effective configuration.
	effective Effective
	scheme    *runtime.Scheme
	levels    levels
	exists    Exists
	access    Access
	rules     *RuleBook
	counts    *counts
	// breakGlass is what the annotation BreakGlassAnnotation may overrule. Events report it; nil reports nothing.
	breakGlass BreakGlass
	events     Events
	log        logr.Logger
}

// answer denies the added problems that the namespace's level does not allow, and what AdmissionRules deny at every
// level. It warns about the other added problems. Only AdmissionRules deny deletions.
func (v *validator) answer(ctx context.Context, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse,
	error,
) {
	if isOfRules(request) {
		return v.rules.review(ctx, request)
	}
	trial := v.trialOf(request)
	level, lines, warnings, err := v.verdict(ctx, request, trial)
	if err != nil {
		return nil, err
	}
	rules, err := v.rule(ctx, request, trial)
	if err != nil {
		return nil, err
	}
	return v.conclude(ctx, request, opinion{level, lines, warnings, rules})
}

// opinion is what all who judge say about a request.
type opinion struct {
	level    Level
	lines    []line
	warnings []string
	rules    ruled
}

// conclude turns the opinion into the answer, if the author of the change does not overrule it.
func (v *validator) conclude(ctx context.Context, request *admissionv1.AdmissionRequest, o opinion) (
	*admissionv1.AdmissionResponse, error,
) {
	plea, err := v.plea(request)
	if err != nil {
		return nil, err
	}
	v.overrule(plea, o.level, o.lines, &o.rules)
	if plea != nil {
		o.warnings = append([]string{plea.warning()}, o.warnings...)
	}
	v.counts.judged(request, o.level, o.lines)
	response := respond(request, o.level, o.lines, append(o.warnings, o.rules.warned...), o.rules.denials)
	if err := o.rules.annotate(response); err != nil || plea == nil {
		return response, err
	}
	return response, v.record(ctx, request, plea, response)
}

// verdict is what the translation says about a request, with the level of its namespace.
func (v *validator) verdict(ctx context.Context, request *admissionv1.AdmissionRequest, trial *trial) (level Level,
	lines []line, warnings []string, err error,
) {
	if request.Operation == admissionv1.Delete {
		return LevelOff, nil, v.deletion(ctx, request), nil
	}
	if pass, err := passes(request); pass || err != nil {
		return LevelOff, nil, nil, err
	}
	level, strange := v.levels.of(ctx, request.Namespace)
	if strange != "" {
		warnings = append(warnings, strange)
	}
	if level == LevelOff {
		return level, nil, warnings, nil
	}
	obj, err := v.object(request, request.Object.Raw)
	if err != nil {
		return level, nil, nil, err
	}
	findings, err := v.try(ctx, trial, obj)
	if err != nil {
		return level, nil, nil, err
	}
	lines = v.phrase(ctx, obj, request, findings)
	if level == LevelWarn && !dry(request) {
		v.tell(request, lines)
	}
	return level, lines, warnings, nil
}

// tell logs what level enforce would have denied. So an operator who introduces admission with warnings sees what
// stands in the way of the next level, and which users to talk to.
func (v *validator) tell(request *admissionv1.AdmissionRequest, lines []line) {
	var problems []string
	for _, l := range lines {
		if LevelEnforce.Denies(l.weight) {
			problems = append(problems, l.String())
		}
	}
	if len(problems) > 0 {
		v.log.Info(wouldDeny, "operation", request.Operation, "group", request.Kind.Group, "kind", request.Kind.Kind,
			"namespace", request.Namespace, "name", request.Name, "user", request.UserInfo.Username, "problems", problems)
	}
}

// wouldDeny is the log message for an object that was admitted only because of its namespace's level.
const wouldDeny = "level enforce would have denied what level warn let in"

// object decodes an object as the kind that the request names. It does not check the object against its schema: the API
// server has already done that.
func (v *validator) object(request *admissionv1.AdmissionRequest, raw []byte) (client.Object, error) {
	obj, err := Decode(v.scheme, schema.GroupVersionKind(request.Kind), raw)
	if err != nil {
		return nil, err
	}
	// The API server says that a Namespace is in itself.
	if _, itself := obj.(*corev1.Namespace); !itself && obj.GetNamespace() == "" {
		obj.SetNamespace(request.Namespace)
	}
	return obj, nil
}

// Decode decodes an object of a kind that the scheme knows from JSON.
func Decode(scheme *runtime.Scheme, gvk schema.GroupVersionKind, raw []byte) (client.Object, error) {
	empty, err := scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("decoding the object: %w", err)
	}
	obj, ok := empty.(client.Object)
	if !ok {
		return nil, fmt.Errorf("a %s is not an object with metadata: remove it from the webhook configuration", gvk.Kind)
	}
	if err := unmarshal(raw, obj); err != nil {
		return nil, fmt.Errorf("decoding the object: %w", err)
	}
	return obj, nil
}

// unmarshal decodes JSON into an object in the same way as the informers, see package older.
func unmarshal(raw []byte, obj client.Object) error {
	if older.Resource(obj) == "" {
		return utiljson.Unmarshal(raw, obj)
	}
	stored, err := fields(raw)
	if err != nil {
		return err
	}
	return older.Read(stored, obj)
}

// passes reports whether a request needs no verdict: neither creation nor update, a status update, or a change that changes nothing that
// Gatehouse reads.
func passes(request *admissionv1.AdmissionRequest) (bool, error) {
	if request.Operation != admissionv1.Create && request.Operation != admissionv1.Update || request.SubResource != "" {
		return true, nil
	}
	now, err := fields(request.Object.Raw)
	if err != nil {
		return false, fmt.Errorf("reading the object: %w", err)
	}
	if request.Kind.Group == gwapiv1.GroupName {
		if err := uncut(now["spec"]); err != nil {
			return false, unreadError{err}
		}
	}
	if leaving(now) {
		return true, nil
	}
	if request.Operation == admissionv1.Create || len(request.OldObject.Raw) == 0 {
		return !concerns(request, now), nil
	}
	old, err := fields(request.OldObject.Raw)
	if err != nil {
		return false, fmt.Errorf("reading the object as it is stored: %w", err)
	}
	return !concerns(request, now) && !concerns(request, old) || sameInput(old, now), nil
}

// concerns leaves out Secrets and ConfigMaps of which nothing is read, in case that the webhook configuration sends
// them.
func concerns(request *admissionv1.AdmissionRequest, object map[string]any) bool {
	if request.Kind.Group != "" || request.Kind.Kind != "Secret" && request.Kind.Kind != "ConfigMap" {
		return true
	}
	return object["type"] == string(corev1.SecretTypeTLS) || hasContent(request.Kind.Kind, object)
}

// hasContent reports whether an object has a key under which something is read, or just one key, which may be that of CA
// certificates (certificate.AuthoritiesIn) or of the body of a response (policies.OnlyKey).
func hasContent(kind string, object map[string]any) bool {
	text, _ := object["data"].(map[string]any)
	binary, _ := object["binaryData"].(map[string]any)
	for _, part := range []map[string]any{text, binary} {
		for key := range part {
			if policies.Reads(kind, key) {
				return true
			}
		}
	}
	return len(text)+len(binary) == 1
}

// confirmed drops findings about missing objects that a live read finds: caches lag behind, and a user who applies a
// folder of objects must not be warned about objects that were just stored. An object that cannot be read counts as
// missing.
func (v *validator) confirmed(ctx context.Context, findings []translator.Finding) ([]translator.Finding, error) {
	if v.exists == nil {
		return findings, nil
	}
	found := map[verdict.Ref]bool{}
	kept := make([]translator.Finding, 0, len(findings))
	for _, f := range findings {
		if f.Problem.Weight != verdict.Unresolved || f.Problem.Missing == nil {
			kept = append(kept, f)
			continue
		}
		ref := *f.Problem.Missing
		if _, asked := found[ref]; !asked {
			there, err := v.exists(ctx, ref)
			if ctx.Err() != nil {
				return nil, fmt.Errorf("looking for %s: %w", ref, ctx.Err())
			}
			found[ref] = there && err == nil
		}
		if !found[ref] {
			kept = append(kept, f)
		}
	}
	return kept, nil
}
