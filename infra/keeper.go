package infra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// FieldManager is the name under which the Keeper owns the fields that it sets.
const FieldManager = "gatehouse"

// workers is how many Gateways are processed at the same time. A failed one is tried again after firstRetry, then with
// growing delays.
const (
	workers    = 4
	firstRetry = 250 * time.Millisecond
	lastRetry  = time.Minute
)

// Keeper keeps the objects of the Gateways' fleets equal to the desired ones: it applies them server-side, repairs
// them when somebody else changes them, and deletes objects that are no longer desired. It runs only on the leader. The
// failure of one Gateway is logged and tried again, and delays no other Gateway.
type Keeper struct {
	client client.Client
	log    logr.Logger
	// Known, if set before Start, returns true when every existing Gateway has been Set, or false if ctx ends before.
	// Then the fleets of Gateways that were deleted while nobody watched are removed.
	Known func(ctx context.Context) bool
	// Failed, if set before Start, is called with the reason why a Gateway's fleet cannot be made as required, if this
	// lasts until somebody changes something. It is called with an empty reason when the fleet can be made again.
	Failed func(ctx context.Context, key, why string)
	// Proven, if set before the first Set, is called with the ServiceAccounts (namespace/name) with which the proxies
	// of a Gateway's fleet authenticate, whenever they may have changed; with none when the fleet is gone. It is called
	// on every replica.
	Proven func(key string, accounts ...string)

	// assigning is held while accounts are reported, so that the newest are reported last. undecided are accounts whose
	// owner could not be determined; retries has the time of the next attempt.
	assigning sync.Mutex
	undecided map[string]bool
	retries   workqueue.TypedRateLimiter[string]

	mu       sync.Mutex
	queue    workqueue.TypedRateLimitingInterface[string]
	settings Settings
	fleets   map[string]*state
	// owners has the fleet that has each claimed account; owned has these accounts by fleet, with the key from its
	// labels.
	owners map[string]string
	owned  groups
	// claimants are the fleets that claim an account.
	claimants groups
}

// state is what the Keeper knows of one fleet. Everything except req belongs to the worker that has the fleet's key.
type state struct {
	// req is the requirement. If it is nil, the fleet is removed.
	req *translator.Requirement
	// applied has what was last applied, by object, successfully or not. It may exist before the cache shows it.
	applied map[object]mark
	// tidy reports whether no objects exist except those in applied.
	tidy bool
	// claims are the accounts that the fleet's pods should run as, named are those of them that the requirement names.
	claims, named []string
}

// object identifies an object of a fleet.
type object struct {
	apiVersion, kind, namespace, name string
}

// New returns a Keeper that does nothing before Start. The client's cache must have the index of Index.
func New(c client.Client, s Settings, log logr.Logger) *Keeper {
	return &Keeper{
		client:    c,
		log:       log,
		settings:  s,
		fleets:    map[string]*state{},
		owners:    map[string]string{},
		owned:     groups{},
		claimants: groups{},
		queue:     newQueue(),
		undecided: map[string]bool{},
		retries:   newRetries(),
	}
}

func newQueue() workqueue.TypedRateLimitingInterface[string] {
	return workqueue.NewTypedRateLimitingQueue(newRetries())
}

func newRetries() workqueue.TypedRateLimiter[string] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)
}

// Set sets the requirement of a Gateway (namespace/name); nil removes its fleet. A requirement that is on hold, or has
// no port, leaves existing objects as they are. Set does not wait until the requirement is met.
func (a *Keeper) Set(key string, req *translator.Requirement) {
	a.assigning.Lock()
	defer a.assigning.Unlock()
	before := a.held(key)
	a.mu.Lock()
	s := a.fleets[key]
	if s == nil {
		s = &state{applied: map[object]mark{}}
		a.fleets[key] = s
	}
	s.req = req
	a.claim(key, s)
	a.queue.Add(key)
	a.mu.Unlock()
	concerned := append(before, a.held(key)...)
	slices.Sort(concerned)
	a.assign(slices.Compact(concerned))
	a.tell(key)
}

// SetCA replaces the CA certificates of the control plane in all fleets.
func (a *Keeper) SetCA(ca []byte) {
	a.mu.Lock()
	a.settings.CA = slices.Clone(ca)
	for _, key := range slices.Sorted(maps.Keys(a.fleets)) {
		a.queue.Add(key)
	}
	a.mu.Unlock()
}

// Changed is called when somebody changed or deleted an object of the Gateway's fleet. The key comes from KeyOf, or
// from the labels of the object.
func (a *Keeper) Changed(key string) {
	a.mu.Lock()
	known := a.fleets[key] != nil
	if !known {
		for long := range a.fleets {
			if byLabels(long) == key {
				key, known = long, true
				break
			}
		}
	}
	if known {
		a.queue.Add(key)
	}
	a.mu.Unlock()
	a.assigning.Lock()
	defer a.assigning.Unlock()
	a.assign(a.held(key))
}

// byLabels is the key in the labels of the fleet's objects, which differs if the name is too long for a label.
func byLabels(key string) string {
	namespace, name, _ := strings.Cut(key, "/")
	return namespace + "/" + envoyproxy.LabelValue(name)
}

// Start works until ctx ends. It may be called again then: another replica may have worked in between. Two replicas
// must not work at the same time, because with different versions they would undo each other's work.
func (a *Keeper) Start(ctx context.Context) error {
	queue := a.resume()
	var running sync.WaitGroup
	for range workers {
		running.Go(func() { a.work(ctx, queue) })
	}
	if a.Known != nil && a.Known(ctx) {
		if err := a.sweep(ctx); err != nil && ctx.Err() == nil {
			a.log.Error(err, "could not remove fleets of Gateways that are gone")
		}
	}
	<-ctx.Done()
	queue.ShutDown()
	running.Wait()
	return nil
}

// resume schedules a check of every fleet, because nobody has worked on them for a while.
func (a *Keeper) resume() workqueue.TypedRateLimitingInterface[string] {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.queue.ShuttingDown() {
		a.queue = newQueue()
	}
	for key, s := range a.fleets {
		s.tidy = false
		a.queue.Add(key)
	}
	return a.queue
}

func (a *Keeper) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[string]) {
	for {
		key, stopped := queue.Get()
		if stopped {
			return
		}
		err := a.Reconcile(ctx, key)
		a.report(ctx, key, err)
		switch {
		case err == nil:
			queue.Forget(key)
		case ctx.Err() == nil:
			a.log.Error(err, "could not bring a fleet up to date; trying again", "gateway", key, "failures",
				queue.NumRequeues(key)+1)
			queue.AddRateLimited(key)
		}
		queue.Done(key)
	}
}

// report reports a failure that does not disappear by itself.
func (a *Keeper) report(ctx context.Context, key string, err error) {
	switch {
	case a.Failed == nil || ctx.Err() != nil:
	case err == nil:
		a.Failed(ctx, key, "")
	case stays(err):
		a.Failed(ctx, key, err.Error())
	}
}

// stays reports whether an error lasts until something in the cluster changes: a name is taken, a ServiceAccount is
// missing or belongs to another Gateway, or the API server rejects an object.
func stays(err error) bool {
	return errors.Is(err, errTaken) || errors.Is(err, errAccount) || errors.Is(err, errNoAccount) ||
		apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err)
}

// Reconcile updates the fleet of one Gateway. It does everything that is possible, even if a part fails, but it never
// runs pods as an account that does not belong to the fleet. It must not run twice at once for the same key.
func (a *Keeper) Reconcile(ctx context.Context, key string) error {
	a.mu.Lock()
	s, settings := a.fleets[key], a.settings
	var req *translator.Requirement
	if s != nil {
		req = s.req
	}
	a.mu.Unlock()
	switch {
	case s == nil:
		return nil
	case req == nil:
		return a.remove(ctx, key, s)
	case req.Hold || len(req.Ports) == 0:
		return nil
	}
	objects, err := Desired(*req, settings)
	if err != nil {
		return err
	}
	return a.replace(ctx, key, s, objects)
}

// replace applies the objects, and deletes the objects that they replace. The old Envoys are deleted only when the new
// ones are ready: until then both serve. The caller watches the objects and calls Changed.
func (a *Keeper) replace(ctx context.Context, key string, s *state, objects []client.Object) error {
	wanted, ready := map[object]bool{}, true
	var failed []error
	for _, o := range objects {
		wanted[nameOf(o)] = true
		now, err := a.bring(ctx, key, s, o)
		if err != nil {
			failed = append(failed, err)
		}
		ready = ready && err == nil && available(now)
	}
	for old := range s.applied {
		if !wanted[old] {
			s.tidy = false
		}
	}
	if !s.tidy && ready {
		failed = append(failed, a.prune(ctx, key, s, wanted))
	}
	return errors.Join(failed...)
}

// remove deletes the whole fleet.
func (a *Keeper) remove(ctx context.Context, key string, s *state) error {
	if err := a.prune(ctx, key, s, nil); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.req == nil {
		delete(a.fleets, key)
	}
	return nil
}

func nameOf(o client.Object) object {
	apiVersion, kind := o.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	return object{apiVersion, kind, o.GetNamespace(), o.GetName()}
}

func (o object) String() string { return fmt.Sprintf("%s %s/%s", o.kind, o.namespace, o.name) }
