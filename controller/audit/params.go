package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// mostParams is how many sets of parameters are held. Others are read again when they are needed.
const mostParams = 64

// paramKey says which parameters: of a rule, from a namespace.
type paramKey struct {
	rule *rule
	from string
}

// paramStore has the parameters that rules have been evaluated with. The caches of the control plane have only a part of
// ConfigMaps, so parameters are read from the API server, once for many objects.
type paramStore struct {
	// versions are the resource versions with which objects have been judged.
	versions map[paramKey]string
	held     map[paramKey][]*corev1.ConfigMap
	// suspects are the parameters that may have changed.
	suspects map[paramKey]bool
}

func newParamStore() paramStore {
	return paramStore{
		versions: map[paramKey]string{}, held: map[paramKey][]*corev1.ConfigMap{}, suspects: map[paramKey]bool{},
	}
}

// drop forgets some parameters.
func (s *paramStore) drop(which func(paramKey) bool) {
	for key := range s.versions {
		if which(key) {
			delete(s.versions, key)
			delete(s.held, key)
			delete(s.suspects, key)
		}
	}
}

// suspect takes the name of a ConfigMap that has changed.
func (s *paramStore) suspect(namespace, config string) {
	for key := range s.versions {
		if key.from != namespace {
			continue
		}
		if _, name, _, _ := key.rule.compiled.Params(namespace); name == "" || name == config {
			s.suspects[key] = true
		}
	}
}

// parameters finds the parameters of a rule in a namespace.
func (a *Auditor) parameters(ctx context.Context, r *rule, from, name string, selector labels.Selector) (
	[]*corev1.ConfigMap, error,
) {
	key := paramKey{r, from}
	a.mu.Lock()
	found, held := a.params.held[key]
	a.mu.Unlock()
	if held {
		return found, nil
	}
	found, err := a.o.Params(ctx, from, name, selector)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rules[r.name()] != r {
		return found, nil
	}
	if len(a.params.held) >= mostParams {
		clear(a.params.held)
	}
	a.params.held[key] = found
	if before, known := a.params.versions[key]; known && before != versionOf(found) {
		a.params.suspects[key] = true // Others were judged with what it was before.
		a.rouse()
		return found, nil
	}
	a.params.versions[key] = versionOf(found)
	return found, nil
}

// versionOf is the same for the same ConfigMaps.
func versionOf(all []*corev1.ConfigMap) string {
	var text strings.Builder
	for _, c := range all {
		fmt.Fprintf(&text, "%s %s\n", c.UID, c.ResourceVersion)
	}
	return text.String()
}

// reread reads the parameters that may have changed, and judges the objects again that were judged with others. What
// cannot be read is tried again later.
func (a *Auditor) reread(ctx context.Context) {
	a.mu.Lock()
	suspects := a.params.suspects
	a.params.suspects = map[paramKey]bool{}
	a.mu.Unlock()
	for key := range suspects {
		_, name, selector, _ := key.rule.compiled.Params(key.from)
		found, err := a.o.Params(ctx, key.from, name, selector)
		a.mu.Lock()
		if err == nil {
			a.renew(key, found)
		}
		a.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			a.o.Log.Error(err, "the parameters of a rule could not be read; trying again", "rule", key.rule.name())
			time.AfterFunc(again, func() { a.doubt(ctx, key) })
		}
	}
}

// doubt has parameters read again, unless this replica leads no more.
func (a *Auditor) doubt(ctx context.Context, key paramKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() == nil {
		a.params.suspects[key] = true
		a.rouse()
	}
}

// renew takes parameters as they are now. a.mu must be held.
func (a *Auditor) renew(key paramKey, found []*corev1.ConfigMap) {
	delete(a.params.held, key)
	before, known := a.params.versions[key]
	switch {
	case a.rules[key.rule.name()] != key.rule:
		delete(a.params.versions, key)
		return
	case !known || before == versionOf(found):
		return
	}
	a.params.versions[key] = versionOf(found)
	for o := range a.all() {
		if from, _, _, _ := key.rule.compiled.Params(o.ref.Namespace); from == key.from && key.rule.compiled.Covers(o.resource) {
			a.waiting.add(o, by(key.rule))
		}
	}
}
