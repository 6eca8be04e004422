package audit

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"gatehouse/policies/admissionrule"
	"gatehouse/policies/effective"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

const (
	// atOnce is how many objects are judged before the judge looks what else there is, and pauses.
	atOnce = 64
	// again is after what time an object is judged again if something for it could not be read.
	again = 5 * time.Second
)

// task is an object with the rules that judge it, and with what it is judged with.
type task struct {
	object    *object
	source    translator.Object
	namespace *corev1.Namespace
	rules     []*rule
	results   []judgement // By rule.
	// failed is why something could not be read.
	failed error
}

// effective reports whether one of the rules reads the effective configuration.
func (t *task) effective() bool {
	return slices.ContainsFunc(t.rules, func(r *rule) bool { return r.compiled.ReadsEffective() })
}

// turn judges some of the objects that wait, and reports whether there were any.
func (a *Auditor) turn(ctx context.Context) (worked bool) {
	a.reread(ctx)
	tasks, worked := a.next()
	var asked []verdict.Ref
	for _, t := range tasks {
		if t.effective() {
			asked = append(asked, t.object.ref)
		}
	}
	var own map[verdict.Ref]*effective.Configuration
	var err error
	if len(asked) > 0 {
		own, err = a.o.Tables.EffectiveOf(ctx, asked)
	}
	for _, t := range tasks {
		if t.failed = err; err == nil {
			a.judge(ctx, t, own[t.object.ref])
		}
	}
	a.finish(ctx, tasks)
	return worked
}

// next takes the next objects.
func (a *Auditor) next() (tasks []*task, worked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	took := a.waiting.take(atOnce, func(o *object, n *need) {
		t := &task{object: o, source: o.source}
		for _, r := range a.rules {
			if n.of(r) && r.compiled.Covers(o.resource) {
				t.rules = append(t.rules, r)
			}
		}
		if o.ref.Namespace != "" {
			if t.namespace = a.namespaces[o.ref.Namespace]; t.namespace == nil {
				return // It is judged as soon as its Namespace is known.
			}
		}
		if len(t.rules) == 0 {
			return
		}
		slices.SortFunc(t.rules, func(a, b *rule) int { return cmp.Compare(a.name(), b.name()) })
		tasks = append(tasks, t)
	})
	return tasks, took > 0
}

// exceptionsIn lists the exceptions of a namespace by name.
func (a *Auditor) exceptionsIn(namespace string) (all []*admissionrule.Exception) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range sortedKeys(a.exceptions[namespace]) {
		all = append(all, a.exceptions[namespace][name].compiled)
	}
	return all
}

// judge judges an object as if it were created now: there is no stored version, and nobody who asks for it.
func (a *Auditor) judge(ctx context.Context, t *task, own *effective.Configuration) {
	values, err := a.values(ctx, t.object.resource, t.source)
	if apierrors.IsNotFound(err) {
		return // Its deletion comes.
	}
	if err != nil {
		t.failed = err
		return
	}
	in := &admissionrule.Input{
		Resource: t.object.resource, Request: request(t.object), Object: values, Namespace: t.namespace,
		Exceptions: a.exceptionsIn, Now: a.o.Now(),
		Effects: func() (*admissionrule.Effects, error) { return admissionrule.NewEffects(nil, own) },
	}
	for _, r := range t.rules {
		in.Params = func(namespace, name string, selector labels.Selector) ([]*corev1.ConfigMap, error) {
			found, err := a.parameters(ctx, r, namespace, name, selector)
			t.failed = errors.Join(t.failed, err)
			return found, err
		}
		j := judgement{matched: r.compiled.Matches(in)}
		if j.matched {
			found, err := r.compiled.Judge(ctx, in)
			if err != nil {
				return // ctx has ended.
			}
			a.evaluations.Inc()
			for _, f := range found {
				j.found = append(j.found, finding{f, t.object.ref, t.object.resource.GVK().GroupVersion().String()})
			}
		}
		t.results = append(t.results, j)
	}
}

// request is the creation of an object.
func request(o *object) *admissionv1.AdmissionRequest {
	q := &admissionv1.AdmissionRequest{Operation: admissionv1.Create, Namespace: o.ref.Namespace, Name: o.ref.Name}
	q.Kind.Group, q.Kind.Version, q.Kind.Kind = o.resource.Group, o.resource.Version, o.resource.Kind
	q.Resource.Group, q.Resource.Version, q.Resource.Resource = o.resource.Group, o.resource.Version, o.resource.Name
	return q
}

// finish records the results. What could not be judged waits for its next turn.
func (a *Auditor) finish(ctx context.Context, tasks []*task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil {
		return // A new leader judges everything.
	}
	for _, t := range tasks {
		if t.failed != nil {
			a.o.Log.Error(t.failed, "a stored object could not be judged; trying again", "kind", t.object.ref.Kind,
				"namespace", t.object.ref.Namespace, "name", t.object.ref.Name)
			time.AfterFunc(again, func() { a.repeat(ctx, t) })
			continue
		}
		for i, j := range t.results {
			if r := t.rules[i]; a.rules[r.name()] == r && !t.object.gone {
				a.record(t.object, r, j)
			}
		}
	}
}

// repeat has an object judged again, unless this replica leads no more.
func (a *Auditor) repeat(ctx context.Context, t *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil || t.object.gone {
		return
	}
	for _, r := range t.rules {
		a.waiting.add(t.object, by(r))
	}
	a.rouse()
}
