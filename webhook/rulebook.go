package webhook

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
)

// RuleBook has the AdmissionRules that are stored, compiled. It is safe for concurrent use.
type RuleBook struct {
	options RuleOptions
	found   *prometheus.CounterVec

	mu    sync.RWMutex
	rules map[string]storedRule
	// inEffect are the compiled rules by name, in this order. It is replaced, and never modified.
	inEffect []*admissionrule.Rule
	// exceptions are the AdmissionExceptions by their namespace and name.
	exceptions map[string]map[string]*admissionrule.Exception
	// forms are those of the kinds that mutations change.
	forms map[schema.GroupVersionKind]keptForm
}

// RuleOptions are what rules are evaluated with.
type RuleOptions struct {
	// Live reads ConfigMaps that rules take parameters from, and Namespaces that the cache does not have yet, from the
	// API server itself.
	Live client.Reader
	// Namespaces reads Namespaces from a cache.
	Namespaces client.Reader
	// Schemas returns the schemas of the cluster's CRDs, against which new rules are checked, and by which mutations
	// change objects.
	Schemas func(context.Context) admissionrule.Schemas
	// Now returns the time, at which exceptions may have expired; nil means the clock.
	Now func() time.Time
	// Metrics registers the counter; nil registers nothing.
	Metrics prometheus.Registerer
	Log     logr.Logger
}

// storedRule is a rule with what it was compiled from; the rule is nil if it cannot be evaluated.
type storedRule struct {
	source *rulesv1alpha1.AdmissionRule
	rule   *admissionrule.Rule
}

// NewRuleBook returns an empty book.
func NewRuleBook(o RuleOptions) *RuleBook {
	b := &RuleBook{
		options: o, rules: map[string]storedRule{}, exceptions: map[string]map[string]*admissionrule.Exception{},
		forms: map[schema.GroupVersionKind]keptForm{},
		found: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_admission_rule_findings_total",
			Help: "Violations of AdmissionRules by rule and outcome (denied, warned, audited, excepted; failed if the rule could not be evaluated), and objects that they have changed (mutated).",
		}, []string{"rule", "outcome"}),
	}
	if o.Schemas == nil {
		b.options.Schemas = func(context.Context) admissionrule.Schemas { return nil }
	}
	if o.Now == nil {
		b.options.Now = time.Now
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(b.found, exceptionCounts{b})
	}
	return b
}

// Put takes a rule as it is stored, and returns it compiled; nil if it cannot be evaluated. A rule whose spec is the same
// is not compiled again.
func (b *RuleBook) Put(source *rulesv1alpha1.AdmissionRule) *admissionrule.Rule {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, known := b.rules[source.Name]
	if known && before.source.UID == source.UID && before.source.Generation == source.Generation {
		return before.rule
	}
	rule, _, _ := admissionrule.Compile(context.Background(), source, nil) // The status of the rule has the problems.
	b.rules[source.Name] = storedRule{source: source, rule: rule}
	b.arrange()
	return rule
}

// Delete forgets a rule.
func (b *RuleBook) Delete(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rules, name)
	b.found.DeletePartialMatch(prometheus.Labels{"rule": name})
	b.arrange()
}

func (b *RuleBook) arrange() {
	b.inEffect = nil
	for _, name := range slices.Sorted(maps.Keys(b.rules)) {
		if rule := b.rules[name].rule; rule != nil {
			b.inEffect = append(b.inEffect, rule)
		}
	}
}

// about lists the rules that may be about a kind.
func (b *RuleBook) about(kind admissionrule.Resource) []*admissionrule.Rule {
	b.mu.RLock()
	all := b.inEffect
	b.mu.RUnlock()
	var rules []*admissionrule.Rule
	for _, r := range all {
		if r.Covers(kind) {
			rules = append(rules, r)
		}
	}
	return rules
}

// readsEffective reports whether a rule that may be about the request reads the effective configuration.
func (b *RuleBook) readsEffective(request *admissionv1.AdmissionRequest) bool {
	if b == nil {
		return false
	}
	kind, known := admissionrule.ResourceOf(kindOf(request))
	return known && slices.ContainsFunc(b.about(kind), (*admissionrule.Rule).ReadsEffective)
}

// namespace returns the Namespace of an object; nil for objects without a namespace. The cache may not have a new one
// yet, and rules may select it by its labels, so the API server is asked then.
func (b *RuleBook) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	if name == "" {
		return nil, nil
	}
	ns, key := &corev1.Namespace{}, client.ObjectKey{Name: name}
	err := b.options.Namespaces.Get(ctx, key, ns)
	if apierrors.IsNotFound(err) {
		err = b.options.Live.Get(ctx, key, ns)
	}
	if err != nil {
		return nil, fmt.Errorf("reading Namespace %s for AdmissionRules: %w", name, err)
	}
	return ns, nil
}

// Params reads the ConfigMaps that a rule takes its parameters from, sorted by name.
func (b *RuleBook) Params(ctx context.Context, namespace, name string, selector labels.Selector) ([]*corev1.ConfigMap,
	error,
) {
	if name != "" {
		config := &corev1.ConfigMap{}
		err := b.options.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, config)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return []*corev1.ConfigMap{config}, err
	}
	list := &corev1.ConfigMapList{}
	err := b.options.Live.List(ctx, list, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector})
	var found []*corev1.ConfigMap
	for i := range list.Items {
		found = append(found, &list.Items[i])
	}
	slices.SortFunc(found, func(a, b *corev1.ConfigMap) int { return cmp.Compare(a.Name, b.Name) })
	return found, err
}
