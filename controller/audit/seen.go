package audit

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// PutRule takes a rule as it is stored. compiled is nil if it cannot be evaluated. A rule that is compiled to the same
// as before is ignored.
func (a *Auditor) PutRule(source *rulesv1alpha1.AdmissionRule, compiled *admissionrule.Rule) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.rules[source.Name]
	if before != nil && before.compiled == compiled {
		return
	}
	a.dropRule(source.Name)
	if compiled == nil {
		return
	}
	r := &rule{source: source, compiled: compiled}
	r.forget()
	a.rules[source.Name] = r
	a.follow()
	if !a.leading {
		return
	}
	for o := range a.all() {
		if r.compiled.Covers(o.resource) {
			a.waiting.add(o, by(r))
		}
	}
	r.begun = a.waiting.added
	a.rouse()
}

// DeleteRule forgets a rule.
func (a *Auditor) DeleteRule(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropRule(name)
	a.follow()
}

func (a *Auditor) dropRule(name string) {
	r := a.rules[name]
	if r == nil {
		return
	}
	for o := range a.all() {
		a.record(o, r, judgement{})
	}
	delete(a.rules, name)
	a.params.drop(func(key paramKey) bool { return key.rule == r })
	if a.leading {
		a.changedRules[name] = true
	}
}

// PutException takes an exception as it is stored.
func (a *Auditor) PutException(source *rulesv1alpha1.AdmissionException) {
	compiled, _ := admissionrule.NewException(source) // The status of the exception has the problems.
	a.mu.Lock()
	defer a.mu.Unlock()
	within := a.exceptions[source.Namespace]
	if within == nil {
		within = map[string]*exception{}
		a.exceptions[source.Namespace] = within
	}
	if before := within[source.Name]; before != nil {
		if before.compiled.Same(compiled) {
			return
		}
		a.reconsider(source.Namespace, before.compiled.Rules())
	}
	within[source.Name] = &exception{compiled, compiled.State(a.o.Now())}
	a.reconsider(source.Namespace, compiled.Rules())
}

// DeleteException forgets an exception.
func (a *Auditor) DeleteException(namespace, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if before := a.exceptions[namespace][name]; before != nil {
		a.reconsider(namespace, before.compiled.Rules())
	}
	delete(a.exceptions[namespace], name)
	if len(a.exceptions[namespace]) == 0 {
		delete(a.exceptions, namespace)
	}
}

// reconsider judges the objects of a namespace again that violate some rules: exceptions change nothing about others.
// a.mu must be held.
func (a *Auditor) reconsider(namespace string, rules []string) {
	for _, o := range a.objects[namespace] {
		for _, outcome := range o.outcomes {
			if outcome.counts != (counts{}) && slices.Contains(rules, outcome.rule.name()) {
				a.waiting.add(o, by(outcome.rule))
			}
		}
	}
	a.rouse()
}

// expire judges again what exceptions are about whose state has changed. a.mu must be held.
func (a *Auditor) expire() {
	now := a.o.Now()
	for namespace, within := range a.exceptions {
		for _, e := range within {
			if state := e.compiled.State(now); state != e.state {
				e.state = state
				a.reconsider(namespace, e.compiled.Rules())
			}
		}
	}
}

// untilException is how long no exception changes its state.
func (a *Auditor) untilException() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, left := a.o.Now(), time.Duration(1<<62)
	for _, within := range a.exceptions {
		for _, e := range within {
			if next := e.compiled.Changes(now); !next.IsZero() {
				left = min(left, next.Sub(now))
			}
		}
	}
	return left
}

// Applied takes the events of a batch that the tables have just applied, and the objects to which belongs what it
// touched of the effective configuration.
func (a *Auditor) Applied(events []translator.Event, touched map[verdict.Ref]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range events {
		switch source := e.Object.(type) {
		case nil:
		case *corev1.Namespace:
			a.namespace(source, e.Deleted)
		case *corev1.ConfigMap:
			if a.leading {
				a.params.suspect(source.Namespace, source.Name)
			}
		default:
			a.seen(source, e.Deleted)
		}
	}
	if !a.leading {
		return
	}
	for ref := range touched {
		if o := a.objects[ref.Namespace][ref]; o != nil {
			a.waiting.add(o, need{effective: true})
		}
	}
	a.rouse()
}

// seen takes an object. One that is being deleted counts as deleted, because its changes are not judged either.
func (a *Auditor) seen(source translator.Object, deleted bool) {
	ref, resource, known := a.refOf(source)
	if !known || a.excluded(ref.Namespace) {
		return
	}
	o := a.objects[ref.Namespace][ref]
	if deleted || source.GetDeletionTimestamp() != nil {
		if o != nil {
			a.drop(o)
		}
		return
	}
	if o == nil {
		o = &object{ref: ref, resource: resource}
		if a.objects[ref.Namespace] == nil {
			a.objects[ref.Namespace] = map[verdict.Ref]*object{}
		}
		a.objects[ref.Namespace][ref] = o
	}
	before := o.source
	o.source = source
	if a.leading && (before == nil || !sameWritten(before, source)) {
		a.waiting.add(o, need{all: true})
	}
}

func (a *Auditor) drop(o *object) {
	for _, outcome := range slices.Clone(o.outcomes) {
		a.record(o, outcome.rule, judgement{})
	}
	o.gone = true
	a.waiting.remove(o)
	delete(a.objects[o.ref.Namespace], o.ref)
	if len(a.objects[o.ref.Namespace]) == 0 {
		delete(a.objects, o.ref.Namespace)
	}
}

// sameWritten reports whether two versions of an object differ at most in what their author does not write. The API
// server counts the versions of everything else but the metadata.
func sameWritten(a, b translator.Object) bool {
	return a.GetUID() == b.GetUID() && a.GetGeneration() == b.GetGeneration() && maps.Equal(a.GetLabels(), b.GetLabels()) &&
		maps.Equal(a.GetAnnotations(), b.GetAnnotations()) && slices.Equal(a.GetFinalizers(), b.GetFinalizers())
}

// namespace takes a Namespace. Objects whose Namespace was not known yet have not been judged.
func (a *Auditor) namespace(source *corev1.Namespace, deleted bool) {
	before := a.namespaces[source.Name]
	if deleted {
		delete(a.namespaces, source.Name)
		a.params.drop(func(key paramKey) bool { return key.from == source.Name })
		return
	}
	a.namespaces[source.Name] = source
	if !a.leading || before != nil && before.ResourceVersion == source.ResourceVersion {
		return
	}
	for _, o := range a.objects[source.Name] {
		if before == nil {
			a.waiting.add(o, need{all: true})
			continue
		}
		for _, r := range a.rules {
			if r.compiled.ReadsNamespace() && r.compiled.Covers(o.resource) {
				a.waiting.add(o, by(r))
			}
		}
	}
}
