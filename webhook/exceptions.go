package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
)

// PutException takes an exception as it is stored.
func (b *RuleBook) PutException(source *rulesv1alpha1.AdmissionException) {
	e, _ := admissionrule.NewException(source) // The status of the exception has the problems.
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exceptions[source.Namespace] == nil {
		b.exceptions[source.Namespace] = map[string]*admissionrule.Exception{}
	}
	b.exceptions[source.Namespace][source.Name] = e
}

// DeleteException forgets an exception.
func (b *RuleBook) DeleteException(namespace, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.exceptions[namespace], name)
	if len(b.exceptions[namespace]) == 0 {
		delete(b.exceptions, namespace)
	}
}

// exceptionsIn lists the exceptions of a namespace by name.
func (b *RuleBook) exceptionsIn(namespace string) []*admissionrule.Exception {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var all []*admissionrule.Exception
	for _, name := range slices.Sorted(maps.Keys(b.exceptions[namespace])) {
		all = append(all, b.exceptions[namespace][name])
	}
	return all
}

// problemsOfException returns what is wrong with an exception.
func problemsOfException(ctx context.Context, b *RuleBook, raw []byte) ([]verdict.Problem, error) {
	source := &rulesv1alpha1.AdmissionException{}
	if err := json.Unmarshal(raw, source); err != nil {
		return nil, fmt.Errorf("decoding the AdmissionException: %w", err)
	}
	rules := map[string]*rulesv1alpha1.AdmissionRule{}
	for _, name := range source.Spec.Rules {
		rule, err := b.source(ctx, name)
		if err != nil {
			return nil, err
		}
		rules[name] = rule
	}
	e, problems := admissionrule.NewException(source)
	find := func(name string) *rulesv1alpha1.AdmissionRule { return rules[name] }
	return append(problems, e.Problems(find, b.options.Now())...), nil
}

// source returns a rule as it is stored; nil if it does not exist. The API server is asked about a rule without
// exceptions and about one that is not known, because it may have changed a moment ago.
func (b *RuleBook) source(ctx context.Context, name string) (*rulesv1alpha1.AdmissionRule, error) {
	b.mu.RLock()
	known := b.rules[name].source
	b.mu.RUnlock()
	if known != nil && known.Spec.Exceptions == rulesv1alpha1.ExceptionsAllowed {
		return known, nil
	}
	rule := &rulesv1alpha1.AdmissionRule{}
	err := b.options.Live.Get(ctx, client.ObjectKey{Name: name}, rule)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading AdmissionRule %s for an exception from it: %w", name, err)
	}
	return rule, nil
}

// exceptionCounts counts exceptions when metrics are read, because their states change with time.
type exceptionCounts struct{ book *RuleBook }

var exceptionsDesc = prometheus.NewDesc("gatehouse_admission_exceptions",
	"AdmissionExceptions by AdmissionRule and state (effective, ends_soon, expired).", []string{"rule", "state"}, nil)

// Describe implements prometheus.Collector.
func (exceptionCounts) Describe(to chan<- *prometheus.Desc) { to <- exceptionsDesc }

// Collect implements prometheus.Collector. Rules that do not exist are left out, so that no tenant can add series.
func (c exceptionCounts) Collect(to chan<- prometheus.Metric) {
	type series struct {
		rule  string
		state admissionrule.State
	}
	counts, now := map[series]float64{}, c.book.options.Now()
	c.book.mu.RLock()
	for _, named := range c.book.exceptions {
		for _, e := range named {
			for _, rule := range e.Rules() {
				if c.book.rules[rule].source != nil {
					counts[series{rule, e.State(now)}]++
				}
			}
		}
	}
	c.book.mu.RUnlock()
	for s, n := range counts {
		to <- prometheus.MustNewConstMetric(exceptionsDesc, prometheus.GaugeValue, n, s.rule, string(s.state))
	}
}
