package offline

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
)

// Request is a request to store an object, as rules see it.
type Request struct {
	Object, OldObject map[string]any
	Username          string
	Groups            []string
}

// Judge evaluates all rules for a request. Objects of kinds that rules cannot be about have no findings. It returns an
// error only if ctx ends.
func (p *Platform) Judge(ctx context.Context, q Request) ([]admissionrule.Finding, error) {
	in, err := p.input(q)
	if err != nil || in == nil {
		return nil, err
	}
	var all []admissionrule.Finding
	for _, r := range p.Rules {
		found, err := r.rule.Judge(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// input is the request in the form of rules; nil if they cannot be about its kind.
func (p *Platform) input(q Request) (*admissionrule.Input, error) {
	version, _ := q.Object["apiVersion"].(string)
	kind, _ := q.Object["kind"].(string)
	resource, known := admissionrule.ResourceOf(schema.FromAPIVersionAndKind(version, kind).GroupKind())
	if !known {
		return nil, nil
	}
	metadata, _ := q.Object["metadata"].(map[string]any)
	request := &admissionv1.AdmissionRequest{Operation: admissionv1.Create}
	request.Namespace, _ = metadata["namespace"].(string)
	request.Name, _ = metadata["name"].(string)
	if q.OldObject != nil {
		request.Operation = admissionv1.Update
	}
	request.Kind.Group, request.Kind.Version, request.Kind.Kind = resource.Group, resource.Version, resource.Kind
	request.Resource.Group, request.Resource.Version = resource.Group, resource.Version
	request.Resource.Resource = resource.Name
	request.UserInfo.Username, request.UserInfo.Groups = q.Username, q.Groups
	in := &admissionrule.Input{
		Resource: resource, Request: request, Object: q.Object, OldObject: q.OldObject,
		Params: p.params, Exceptions: p.exceptions[request.Namespace], Now: p.Now,
	}
	if request.Namespace == "" {
		return in, nil
	}
	var err error
	in.Namespace, err = p.namespaces.Get(request.Namespace)
	return in, err
}

func (p *Platform) params(namespace, name string, selector labels.Selector) (found []*corev1.ConfigMap, _ error) {
	for _, c := range p.configs {
		if c.Namespace == namespace && (c.Name == name || name == "" && selector.Matches(labels.Set(c.Labels))) {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b *corev1.ConfigMap) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// Values are the values of an object in JSON or YAML, as rules see them.
func Values(text []byte) (map[string]any, error) {
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("reading an object: %w", err)
	}
	var values map[string]any
	if err := utiljson.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("reading an object: %w", err)
	}
	return values, nil
}

// rule reports what the rules of the platform say about an object, at every level. Objects that the API server refuses
// before are not evaluated. A rule or an exception ends here, with what is wrong with it.
func (r *review) rule(o *object) bool {
	if ofRules(o.kind) {
		for _, problem := range r.platform.problems[o.ref] {
			if !said(r.invalid[o.ref], problem.Field) {
				r.Findings = append(r.Findings, Finding{
					Place: o.placeIn(problem), Object: o.ref, Problem: problem, Denied: problem.Weight == verdict.Invalid,
				})
			}
		}
		return false
	}
	if len(r.platform.Rules) == 0 || o.unknown || len(r.invalid[o.ref]) > 0 {
		return true
	}
	found, err := r.platform.Judge(context.Background(), Request{
		Object: o.value, OldObject: o.old, Username: r.user().Name, Groups: r.user().Groups,
	})
	if err != nil {
		r.deny(o.document, o.ref, refused(reasonUnreadable, "", oneLine(err)+": report this"))
		return true
	}
	for i := range found {
		r.Findings = append(r.Findings, r.platform.finding(o, &found[i]))
	}
	return true
}

// finding is what a rule finds in an object. What admission only writes into the audit log is a note.
func (p *Platform) finding(o *object, f *admissionrule.Finding) Finding {
	problem := f.Problem
	problem.Message = f.Words()
	at := slices.IndexFunc(p.Rules, func(r StoredRule) bool { return r.Source.Name == f.Rule })
	return Finding{
		Place: o.place(problem.Field), Object: o.ref, Problem: problem, Denied: f.Denies(), Noted: f.Audited(),
		Rule: f.Rule, Help: p.Rules[at].Help(),
	}
}
