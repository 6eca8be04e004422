package audit

import (
	"context"
	"maps"
	"slices"

	"gatehouse/policies/verdict"
)

// tell reports results until ctx ends, each at most once in an interval.
func (a *Auditor) tell(ctx context.Context) {
	if a.o.Reports != nil {
		a.o.Reports.forget()
	}
	for ctx.Err() == nil {
		pause(ctx, a.o.Interval)
		for _, name := range a.toTell() {
			a.o.Changed(name)
		}
		if a.o.Reports != nil && ctx.Err() == nil {
			a.report(ctx)
		}
	}
}

// toTell takes the rules whose results have changed.
func (a *Auditor) toTell() (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refill()
	a.rouse()
	for _, name := range sortedKeys(a.changedRules) {
		if r := a.rules[name]; r != nil && !a.complete(r) {
			continue
		}
		names = append(names, name)
		delete(a.changedRules, name)
	}
	return names
}

// report writes some of the reports whose results have changed.
func (a *Auditor) report(ctx context.Context) {
	if a.o.Reports.find(ctx, a.o.Now()) {
		a.mu.Lock()
		for _, all := range [][]string{slices.Collect(maps.Keys(a.sums)), slices.Collect(maps.Keys(a.o.Reports.written))} {
			for _, namespace := range all {
				a.changedNamespaces[namespace] = true
			}
		}
		a.mu.Unlock()
	}
	for _, c := range a.toReport() {
		if err := a.o.Reports.write(ctx, c); err != nil && ctx.Err() == nil {
			a.o.Log.Error(err, "a report could not be written; trying again", "namespace", c.namespace)
			a.mu.Lock()
			a.changedNamespaces[c.namespace] = true
			a.mu.Unlock()
			return // The others would probably fail too.
		}
	}
}

// toReport takes some of the namespaces whose results have changed, with their results.
func (a *Auditor) toReport() (contents []content) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting.taken < a.begun {
		return nil // Too little is known.
	}
	if !a.o.Reports.installed() {
		clear(a.changedNamespaces)
		return nil
	}
	for _, namespace := range sortedKeys(a.changedNamespaces) {
		if len(contents) == mostWrites {
			break
		}
		c := a.contentOf(namespace)
		if a.o.Reports.room(&c) {
			delete(a.changedNamespaces, namespace)
			contents = append(contents, c)
		}
	}
	return contents
}

// contentOf is what there is to report of a namespace.
func (a *Auditor) contentOf(namespace string) content {
	c := content{namespace: namespace}
	if s := a.sums[namespace]; s != nil {
		c.sums = *s
	}
	for _, name := range sortedKeys(a.rules) {
		r := a.rules[name]
		c.findings = append(c.findings, r.sorted(func(ref verdict.Ref) bool { return ref.Namespace == namespace })...)
	}
	c.findings = c.findings[:min(len(c.findings), mostResults)]
	return c
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
