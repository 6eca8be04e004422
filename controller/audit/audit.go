package audit

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/effective"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// Tables tell what belongs to objects of the effective configuration. A translator.World does.
type Tables interface {
	EffectiveOf(context.Context, []verdict.Ref) (map[verdict.Ref]*effective.Configuration, error)
	Follow(on bool)
}

// Options are what stored objects are judged with, and who is told of the results.
type Options struct {
	Tables Tables
	// Live reads objects with fields that the control plane does not keep from the API server itself.
	Live client.Reader
	// Params reads the ConfigMaps that a rule takes its parameters from, by name or else by the selector.
	Params func(ctx context.Context, namespace, name string, selector labels.Selector) ([]*corev1.ConfigMap, error)
	// Scheme knows the kinds of the objects.
	Scheme *runtime.Scheme
	// Known waits until all existing objects have been passed to Applied; it returns false if the context ends.
	Known func(context.Context) bool
	// Changed is called with the name of a rule whose results have changed.
	Changed func(rule string)
	// Reports writes reports; nil writes none.
	Reports *Reports
	// Excluded are the namespaces whose objects admission does not judge.
	Excluded []string
	// Interval is the shortest time between two reports of results; zero means 2 s.
	Interval time.Duration
	// Now returns the time, at which exceptions may have expired; nil means the clock.
	Now func() time.Time
	// Metrics registers the metrics; nil registers nothing.
	Metrics prometheus.Registerer
	Log     logr.Logger
}

// Auditor judges what is stored. Its methods may be called from any goroutine, and do not block. Those that receive
// objects are called on all replicas, so that a new leader has them.
type Auditor struct {
	o           Options
	evaluations prometheus.Counter

	mu         sync.Mutex
	rules      map[string]*rule
	exceptions map[string]map[string]*exception // By namespace and name.
	namespaces map[string]*corev1.Namespace
	objects    map[string]map[verdict.Ref]*object // By namespace, which is empty for objects without one.
	params     paramStore
	// leading reports whether this replica judges. Nothing waits and nothing has results while it does not.
	leading bool
	waiting work
	// begun is the place in the queue of the last object that was there when this replica began to lead.
	begun int
	// sums are the results by namespace.
	sums map[string]*sums
	// changedRules and changedNamespaces have results that have not been told of yet.
	changedRules, changedNamespaces map[string]bool
	// wake has capacity one.
	wake chan struct{}
}

// object is a stored object.
type object struct {
	ref      verdict.Ref
	resource admissionrule.Resource
	// source belongs to the informer.
	source   translator.Object
	outcomes []*outcome
	gone     bool
}

// rule is an AdmissionRule that can be evaluated, with its results.
type rule struct {
	source   *rulesv1alpha1.AdmissionRule
	compiled *admissionrule.Rule
	counts   counts
	judged   int
	// told are the findings that are kept, by object; findings is their number, and untold how many objects have findings
	// that are not kept.
	told             map[verdict.Ref][]finding
	findings, untold int
	// begun is the place in the queue of the last object that was to be judged when the rule came.
	begun int
}

// exception is an AdmissionException with the state in which objects were judged.
type exception struct {
	compiled *admissionrule.Exception
	state    admissionrule.State
}

// New returns an auditor that knows nothing.
func New(o Options) *Auditor {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Interval == 0 {
		o.Interval = 2 * time.Second
	}
	a := &Auditor{
		o: o, rules: map[string]*rule{}, exceptions: map[string]map[string]*exception{},
		namespaces: map[string]*corev1.Namespace{}, objects: map[string]map[verdict.Ref]*object{},
		params: newParamStore(), wake: make(chan struct{}, 1),
		evaluations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_admission_audit_evaluations_total",
			Help: "How many times a stored object was judged by an AdmissionRule.",
		}),
	}
	a.reset()
	if o.Metrics != nil {
		o.Metrics.MustRegister(a.evaluations, violationCounts{a})
	}
	return a
}

// reset forgets all results.
func (a *Auditor) reset() {
	a.waiting, a.sums = newWork(), map[string]*sums{}
	a.changedRules, a.changedNamespaces = map[string]bool{}, map[string]bool{}
	a.params = newParamStore()
	for _, r := range a.rules {
		r.forget()
	}
	for o := range a.all() {
		o.outcomes = nil
	}
}

// all are the stored objects.
func (a *Auditor) all() func(yield func(*object) bool) {
	return func(yield func(*object) bool) {
		for _, within := range a.objects {
			for _, o := range within {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// Start judges what is stored until ctx ends. It can be started again afterwards.
func (a *Auditor) Start(ctx context.Context) error {
	if !a.o.Known(ctx) {
		return nil
	}
	a.lead(true)
	defer a.lead(false)
	var telling sync.WaitGroup
	telling.Go(func() { a.tell(ctx) })
	defer telling.Wait()
	for ctx.Err() == nil {
		began := time.Now()
		if a.turn(ctx) {
			// At most half of a processor is used, so that the translation and admission go on.
			pause(ctx, min(time.Since(began), time.Second))
			continue
		}
		a.rest(ctx)
	}
	return nil
}

func (a *Auditor) lead(leading bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leading = leading
	a.reset()
	a.follow()
	if !leading {
		return
	}
	for o := range a.all() {
		a.waiting.add(o, need{all: true})
	}
	a.begun = a.waiting.added
	for name, r := range a.rules {
		r.begun = a.begun
		a.changedRules[name] = true
	}
}

// follow has the tables say what changes if a rule reads it. a.mu must be held.
func (a *Auditor) follow() {
	on := false
	for _, r := range a.rules {
		on = on || r.compiled.ReadsEffective()
	}
	a.o.Tables.Follow(on && a.leading)
}

// rest waits until there is work, or until an exception may have changed its state.
func (a *Auditor) rest(ctx context.Context) {
	const most = time.Minute // The clock may be set.
	timer := time.NewTimer(min(most, max(a.untilException(), 10*time.Millisecond)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-a.wake:
	case <-timer.C:
	}
}

func (a *Auditor) rouse() {
	select {
	case a.wake <- struct{}{}:
	default: // It is awake already.
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// excluded reports whether admission does not judge the objects of a namespace.
func (a *Auditor) excluded(namespace string) bool { return slices.Contains(a.o.Excluded, namespace) }

// refOf is the object that an object of a Go type is, and false if rules cannot be about what is stored of its kind:
// only a part of these objects is kept, and nothing of the effective configuration belongs to them.
func (a *Auditor) refOf(source translator.Object) (verdict.Ref, admissionrule.Resource, bool) {
	kinds, _, err := a.o.Scheme.ObjectKinds(source)
	if err != nil || len(kinds) == 0 {
		return verdict.Ref{}, admissionrule.Resource{}, false
	}
	resource, known := admissionrule.ResourceOf(kinds[0].GroupKind())
	return verdict.Ref{
		Group: resource.Group, Kind: resource.Kind, Namespace: source.GetNamespace(), Name: source.GetName(),
	}, resource, known && !resource.Partial
}

func (r *rule) name() string { return r.source.Name }
