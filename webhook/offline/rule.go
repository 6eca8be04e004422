package offline

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"gatehouse/api/patching"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/effective"
	"gatehouse/policies/verdict"
)

// Request is a request to store an object, as rules see it, or to delete it if Object is nil.
type Request struct {
	Object, OldObject map[string]any
	Username          string
	Groups            []string
}

// Mutate applies the mutations of all rules, in the order of their names. Objects of kinds that rules cannot be about stay
// as they are. It returns an error only if ctx ends.
func (p *Platform) Mutate(ctx context.Context, q Request) (*admissionrule.Mutated, error) {
	in, err := p.input(q)
	if err != nil || in == nil {
		return &admissionrule.Mutated{Object: q.Object}, err
	}
	rules := make([]*admissionrule.Rule, len(p.Rules))
	for i := range p.Rules {
		rules[i] = p.Rules[i].rule
	}
	slices.SortFunc(rules, func(a, b *admissionrule.Rule) int { return cmp.Compare(a.Name(), b.Name()) })
	return admissionrule.Mutate(ctx, rules, in)
}

// input is the request in the form of rules; nil if they cannot be about its kind.
func (p *Platform) input(q Request) (*admissionrule.Input, error) {
	object, operation := q.Object, admissionv1.Create
	switch {
	case q.Object == nil:
		object, operation = q.OldObject, admissionv1.Delete
	case q.OldObject != nil:
		operation = admissionv1.Update
	}
	version, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	resource, known := admissionrule.ResourceOf(schema.FromAPIVersionAndKind(version, kind).GroupKind())
	if !known {
		return nil, nil
	}
	metadata, _ := object["metadata"].(map[string]any)
	request := &admissionv1.AdmissionRequest{Operation: operation}
	request.Namespace, _ = metadata["namespace"].(string)
	request.Name, _ = metadata["name"].(string)
	request.Kind.Group, request.Kind.Version, request.Kind.Kind = resource.Group, resource.Version, resource.Kind
	request.Resource.Group, request.Resource.Version = resource.Group, resource.Version
	request.Resource.Resource = resource.Name
	request.UserInfo.Username, request.UserInfo.Groups = q.Username, q.Groups
	in := &admissionrule.Input{
		Resource: resource, Request: request, Object: q.Object, OldObject: q.OldObject,
		Params: p.params, Now: p.Now,
	}
	if len(p.exceptions) > 0 {
		in.Exceptions = func(namespace string) []*admissionrule.Exception { return p.exceptions[namespace] }
	}
	in.Patch = patching.Patch
	in.Form = func() (*admissionrule.Form, error) { return p.forms.of(schema.FromAPIVersionAndKind(version, kind)) }
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

// forms are what mutations need to know of kinds. They are safe for concurrent use.
type forms struct {
	mu      sync.Mutex
	schemas admissionrule.Schemas
	known   map[schema.GroupVersionKind]*admissionrule.Form
}

// of returns the form of a kind; nil if its CRD is not known.
func (f *forms) of(kind schema.GroupVersionKind) (*admissionrule.Form, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if form, ok := f.known[kind]; ok {
		return form, nil
	}
	known := f.schemas(kind)
	if known == nil {
		return nil, nil
	}
	form, err := admissionrule.NewForm(kind, known)
	if err == nil {
		f.known[kind] = form
	}
	return form, err
}

// mutateByRules applies the mutations of the rules of the platform, and reports what they fill in as admission does. Objects
// that the API server refuses because of unknown fields stay as they are.
func (r *review) mutateByRules(o *object) {
	if ofRules(o.kind) || len(r.platform.Rules) == 0 || o.unknown {
		return
	}
	mutated, err := r.platform.Mutate(context.Background(), Request{
		Object: o.value, OldObject: o.old, Username: r.user().Name, Groups: r.user().Groups,
	})
	if err != nil {
		r.deny(o.document, o.ref, refused(reasonUnreadable, "", oneLine(err)+": report this"))
		return
	}
	o.found = mutated.Findings
	if len(mutated.Changes) > 0 {
		r.become(o, mutated.Object)
	}
	for i := range mutated.Changes {
		if mutated.Changes[i].Stored {
			continue
		}
		change := mutated.Changes[i].Made()
		r.report(o.document, change.Field, Finding{
			Object: o.ref, Problem: change, Rule: mutated.Changes[i].Rule, Help: r.platform.help(mutated.Changes[i].Rule),
		})
	}
}

// rule reports what the rules of the platform say about an object, at every level. Objects that the API server refuses
// before are not evaluated. A rule or an exception ends here, with what is wrong with it.
func (r *review) rule(o *object) bool {
	if ofRules(o.kind) {
		for _, problem := range r.platform.problems[o.ref] {
			if !said(r.invalid[o.ref], problem.Field) {
				r.report(o.document, problem.Field, Finding{
					Object: o.ref, Problem: problem, Denied: problem.Weight == verdict.Invalid,
				})
			}
		}
		return false
	}
	if len(r.platform.Rules) == 0 {
		return true
	}
	if o.unknown || o.denied || len(r.invalid[o.ref]) > 0 {
		r.refused[effective.ObjectOf(o.ref)] = true
		return true
	}
	in, err := r.input(o)
	if err != nil || in == nil {
		return true // A Namespace is always found.
	}
	r.ruled(o, o.found, nil)
	later := false
	for i := range r.platform.Rules {
		if rule := r.platform.Rules[i].rule; rule.ReadsEffective() {
			later = later || !in.Resource.Unborn && rule.Covers(in.Resource)
		} else {
			found, err := rule.Judge(context.Background(), in)
			r.ruled(o, found, err)
		}
	}
	if later {
		r.keep(o, admissionrule.Rank(in.Resource))
	}
	return true
}

// keep keeps an object that rules are asked about when all is translated.
func (r *review) keep(o *object, rank int) {
	text, err := json.Marshal(o.value)
	if err != nil {
		r.ruled(o, nil, err)
		return
	}
	r.asked = append(r.asked, asked{object{document: o.located(), ref: o.ref, old: o.old}, rank, text})
}

// input is the request to store an object, as rules see it; nil if they cannot be about its kind.
func (r *review) input(o *object) (*admissionrule.Input, error) {
	return r.platform.input(Request{
		Object: o.value, OldObject: o.old, Username: r.user().Name, Groups: r.user().Groups,
	})
}

// asked is an object that rules about the effective configuration are asked of, in the order of the ranks. It has no value
// until then, but text in JSON, which is many times smaller.
type asked struct {
	object
	rank int
	text []byte
}

// subject is the object as a survey sees it.
func (r *review) subject(survey *admissionrule.Survey, a *asked) (*admissionrule.Subject, error) {
	o := a.object
	if err := kjson.UnmarshalCaseSensitivePreserveInts(a.text, &o.value); err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	in, err := r.input(&o)
	if err != nil {
		return nil, err
	}
	return survey.Subject(in), nil
}

// survey reports what rules find in the effective configuration of all objects. What is made of objects that the API
// server refuses is left out, because they have their own findings.
func (r *review) survey() error {
	if len(r.asked) == 0 {
		return nil
	}
	whole, err := r.World.Effective(context.Background())
	if err != nil {
		return fmt.Errorf("telling what takes effect: %w", err)
	}
	whole.Routes = slices.DeleteFunc(whole.Routes, func(route *effective.Route) bool {
		return r.refused[effective.ObjectOf(verdict.Ref{Kind: route.Kind, Namespace: route.Namespace, Name: route.Name})]
	})
	whole.Listeners = slices.DeleteFunc(whole.Listeners, func(l *effective.Listener) bool { return r.refused[l.Owner] })
	survey, err := admissionrule.NewSurvey(r.earlier, whole)
	if err != nil {
		return err
	}
	slices.SortStableFunc(r.asked, func(a, b asked) int {
		return cmp.Compare(a.rank, b.rank)
	})
	var inquiries []*admissionrule.Inquiry
	for i := range r.platform.Rules {
		if rule := r.platform.Rules[i].rule; rule.ReadsEffective() {
			inquiries = append(inquiries, admissionrule.NewInquiry(rule))
		}
	}
	for start := 0; start < len(r.asked); start += surveyed {
		r.Progress("evaluating rules", start, len(r.asked))
		r.inquire(survey, inquiries, r.asked[start:min(start+surveyed, len(r.asked))])
	}
	return nil
}

// surveyed is how many objects rules are asked about before their findings are reported.
const surveyed = 1024

// inquire asks all rules about some objects, at the same time, as far as there are CPUs. Each rule is asked about one object
// after the other.
func (r *review) inquire(survey *admissionrule.Survey, rules []*admissionrule.Inquiry, all []asked) {
	subjects, unread := make([]*admissionrule.Subject, len(all)), make([]error, len(all))
	each(len(all), func(i int) { subjects[i], unread[i] = r.subject(survey, &all[i]) })
	type answer struct {
		found []admissionrule.Finding
		err   error
	}
	answers := make([]answer, len(rules)*len(all))
	each(len(rules), func(i int) {
		for j, subject := range subjects {
			a := &answers[j*len(rules)+i]
			if a.err = unread[j]; a.err == nil {
				a.found, a.err = rules[i].Judge(context.Background(), subject)
			}
		}
	})
	for i := range answers {
		r.ruled(&all[i/len(rules)].object, answers[i].found, answers[i].err)
	}
}

// ruled reports what a rule finds in an object.
func (r *review) ruled(o *object, found []admissionrule.Finding, err error) {
	if err != nil {
		r.deny(o.document, o.ref, refused(reasonUnreadable, "", oneLine(err)+": report this"))
	}
	for i := range found {
		r.report(o.document, cmp.Or(found[i].Field, found[i].At), r.platform.finding(o, &found[i]))
	}
}

// finding is what a rule finds in an object. What admission only writes into the audit log is a note.
func (p *Platform) finding(o *object, f *admissionrule.Finding) Finding {
	problem := f.Problem
	problem.Message = f.Words()
	return Finding{
		Object: o.ref, Problem: problem, Denied: f.Denies(), Noted: f.Audited(), Rule: f.Rule, Help: p.help(f.Rule),
	}
}

// help is what the owner of a rule says about it.
func (p *Platform) help(rule string) string {
	at := slices.IndexFunc(p.Rules, func(r StoredRule) bool { return r.Source.Name == rule })
	return p.Rules[at].Help()
}
