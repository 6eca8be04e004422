package offline

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// Cluster has objects that are stored, and rules for requests to change them.
type Cluster struct {
	*Platform
	options Options
	stored  []document
}

// Stored adds objects that are stored: those of files and folders, and others in JSON. A Namespace, a ConfigMap or an
// exception of them takes the place of one of the platform. It returns an error if one of them cannot be read.
func (p *Platform) Stored(o Options, paths []string, objects []json.RawMessage) (*Cluster, error) {
	files := &reader{limit: maxInput}
	if err := files.read(paths, nil); err != nil {
		return nil, err
	}
	for i, object := range objects {
		name, before := fmt.Sprintf("stored[%d]", i), files.others
		files.part(newSource(name, object), part{end: len(object)})
		if files.others > before {
			return nil, fmt.Errorf("%s is not an object: write apiVersion and kind", name)
		}
	}
	if len(files.broken) > 0 {
		b := files.broken[0]
		return nil, fmt.Errorf("%s:%d: %s", b.at.File, b.at.Line, b.text)
	}
	r := newReview(o)
	r.prepare(slices.Concat(p.documents, files.documents))
	there := map[verdict.Ref]bool{}
	for _, d := range files.documents {
		there[r.headOf(d)] = true
	}
	all := slices.Concat(slices.DeleteFunc(slices.Clone(p.documents), func(d document) bool { return there[r.headOf(d)] }),
		files.documents)
	own := *p
	own.exceptions, own.namespaces, own.configs = map[string][]*admissionrule.Exception{}, newNamespaces(all), nil
	own.problems = maps.Clone(p.problems)
	r.platform = &own
	for _, d := range all {
		r.takeException(d)
		r.takeConfig(d)
	}
	return &Cluster{Platform: &own, options: o, stored: all}, nil
}

// Judge evaluates all rules for a request. Objects of kinds that rules cannot be about have no findings. It returns an
// error if an object cannot be stored, or if ctx ends.
func (c *Cluster) Judge(ctx context.Context, q Request) ([]admissionrule.Finding, error) {
	in, err := c.input(q)
	if err != nil || in == nil {
		return nil, err
	}
	if slices.ContainsFunc(c.Rules, func(r StoredRule) bool { return r.rule.ReadsEffective() && r.rule.Covers(in.Resource) }) {
		effects, err := c.effects(ctx, q)
		if err != nil {
			return nil, err
		}
		in.Effects = func() (*admissionrule.Effects, error) { return effects, nil }
	}
	var all []admissionrule.Finding
	for _, r := range c.Rules {
		found, err := r.rule.Judge(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// effects are what a request does to the effective configuration, as admission computes it.
func (c *Cluster) effects(ctx context.Context, q Request) (*admissionrule.Effects, error) {
	r, change := newReview(c.options), translator.Event{}
	r.platform = &Platform{}
	r.prepare(c.stored)
	r.policies = &policies{}
	object, stored := q.Object, c.stored
	if q.OldObject != nil {
		old, err := r.written("oldObject", q.OldObject)
		if err != nil {
			return nil, err
		}
		stored = append(slices.DeleteFunc(slices.Clone(stored), func(d document) bool { return r.headOf(d) == r.headOf(old) }), old)
	}
	if q.Object == nil {
		object, change.Deleted = q.OldObject, true
	}
	for _, d := range stored {
		if !ofRules(d.kind) {
			r.take(d)
		}
	}
	if err := r.refusal(); err != nil {
		return nil, err
	}
	if _, err := r.World.Apply(slices.Concat(r.served(), r.events)); err != nil {
		return nil, err
	}
	r.events = nil
	new, err := r.written("object", object)
	if err != nil {
		return nil, err
	}
	if q.OldObject != nil {
		delete(r.documents, r.headOf(new)) // It is there, and is changed.
	}
	r.take(new)
	if err := r.refusal(); err != nil {
		return nil, err
	}
	if len(r.events) == 0 {
		return admissionrule.NewEffects(nil, nil)
	}
	change.Object = r.events[0].Object
	trial, err := r.World.TryEffective(ctx, change)
	if err != nil {
		return nil, fmt.Errorf("trying the change: %w", err)
	}
	return admissionrule.NewEffects(trial.Before, trial.After)
}

// written is an object as a document of its own.
func (r *review) written(name string, object map[string]any) (document, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return document{}, fmt.Errorf("reading %s: %w", name, err)
	}
	files := &reader{limit: maxInput}
	files.part(newSource(name, text), part{end: len(text)})
	if len(files.documents) != 1 {
		return document{}, fmt.Errorf("%s is not an object: write apiVersion and kind", name)
	}
	return files.documents[0], nil
}

// refusal is an error if the API server would refuse one of the objects.
func (r *review) refusal() error {
	r.place()
	at := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Denied })
	if at < 0 {
		return nil
	}
	f := r.Findings[at]
	return fmt.Errorf("%s:%d: %s: %s", f.File, f.Line, f.Object, f.String())
}
