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

// FieldManager is the name under which the Applier owns the fields that it sets.
const FieldManager = "gatehouse"

// workers is how many Gateways are worked on at once; a failed one is tried again after firstRetry, then less and less often.
const (
	workers    = 4
	firstRetry = 250 * time.Millisecond
	lastRetry  = time.Minute
)

// Applier keeps the objects of the Gateways' fleets equal to what is desired: it applies them server-side, repairs them when
// somebody else changed them, and deletes those that are no longer desired. It runs on the leader only. One Gateway's failure is
// logged and tried again, and holds up no other Gateway.
type Applier struct {
	client client.Client
	log    logr.Logger
	// Known, if set before Start, returns when every Gateway that exists has been Set, or false if ctx ends before. The fleets of
	// Gateways that were deleted while nobody watched are then removed.
	Known func(ctx context.Context) bool
	// Failed, if set before Start, is told why a Gateway's fleet cannot be made as it is required, until somebody changes something;
	// and of the empty reason when it can.
	Failed func(ctx context.Context, key, why string)
	// Proven, if set before the first Set, is told the ServiceAccounts (namespace/name) by which the proxies of a Gateway's fleet prove who they
	// are, whenever they may be others than before; none when the fleet is gone. It is told on every replica.
	Proven func(key string, accounts ...string)

	// settling is held while accounts are told, so that the newest are told last. Of those that are unsettled it could not be found out whose they
	// are; retries tells when that is tried again.
	settling  sync.Mutex
	unsettled map[string]bool
	retries   workqueue.TypedRateLimiter[string]

	mu       sync.Mutex
	queue    workqueue.TypedRateLimitingInterface[string]
	settings Settings
	fleets   map[string]*state
	// owners are the fleets that have the accounts which are claimed; owned are these accounts by fleet, as its labels have it.
	owners map[string]string
	owned  groups
	// claimants are the fleets that claim an account.
	claimants groups
}

// state is what the Applier knows of one fleet. All but req belongs to the worker that has the fleet's key.
type state struct {
	// req is what is required; nil means nothing, so that the fleet is to go.
	req *translator.Requirement
	// applied is what was last applied, by object, whether that succeeded or not. It may exist before the cache shows it.
	applied map[object]mark
	// tidy tells that nothing but the objects of applied exists.
	tidy bool
	// claims are the accounts that the fleet's pods are to run as, named those of them that the requirement names.
	claims, named []string
}

// object names an object of a fleet.
type object struct {
	apiVersion, kind, namespace, name string
}

// New returns an Applier that does nothing before Start. The client's cache has the index of Index.
func New(c client.Client, s Settings, log logr.Logger) *Applier {
	return &Applier{
		client:    c,
		log:       log,
		settings:  s,
		fleets:    map[string]*state{},
		owners:    map[string]string{},
		owned:     groups{},
		claimants: groups{},
		queue:     newQueue(),
		unsettled: map[string]bool{},
		retries:   newRetries(),
	}
}

func newQueue() workqueue.TypedRateLimitingInterface[string] {
	return workqueue.NewTypedRateLimitingQueue(newRetries())
}

func newRetries() workqueue.TypedRateLimiter[string] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)
}

// Set says what a Gateway (namespace/name) requires: nil to remove its fleet. A requirement on hold, or without a port, leaves what
// exists as it is. Set does not wait for what it leads to.
func (a *Applier) Set(key string, req *translator.Requirement) {
	a.settling.Lock()
	defer a.settling.Unlock()
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
	a.settle(slices.Compact(concerned))
	a.tell(key)
}

// SetCA replaces the certificates that vouch for the control plane, in all fleets.
func (a *Applier) SetCA(ca []byte) {
	a.mu.Lock()
	a.settings.CA = slices.Clone(ca)
	for _, key := range slices.Sorted(maps.Keys(a.fleets)) {
		a.queue.Add(key)
	}
	a.mu.Unlock()
}

// Changed says that an object of the Gateway's fleet was changed or deleted by somebody. The key is that of KeyOf, or made of the
// labels of the object.
func (a *Applier) Changed(key string) {
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
	a.settling.Lock()
	defer a.settling.Unlock()
	a.settle(a.held(key))
}

// byLabels is the key as the labels of the fleet's objects have it, which is another one if the name is too long for a label.
func byLabels(key string) string {
	namespace, name, _ := strings.Cut(key, "/")
	return namespace + "/" + envoyproxy.LabelValue(name)
}

// Start works until ctx ends. It may be called again then: another replica may have worked in between. Two must not work at once, as they would undo
// each other's work while they are of different versions.
func (a *Applier) Start(ctx context.Context) error {
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

// resume has every fleet looked at, as nobody has worked on it for a while.
func (a *Applier) resume() workqueue.TypedRateLimitingInterface[string] {
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

func (a *Applier) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[string]) {
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
			a.log.Error(err, "could not bring a fleet up to date; trying again", "gateway", key, "failures", queue.NumRequeues(key)+1)
			queue.AddRateLimited(key)
		}
		queue.Done(key)
	}
}

// report tells of a failure that does not pass by itself.
func (a *Applier) report(ctx context.Context, key string, err error) {
	switch {
	case a.Failed == nil || ctx.Err() != nil:
	case err == nil:
		a.Failed(ctx, key, "")
	case stays(err):
		a.Failed(ctx, key, err.Error())
	}
}

// stays reports whether an error lasts until something in the cluster changes: a name is taken, a ServiceAccount is missing or belongs to another
// Gateway, or the API server refuses an object.
func stays(err error) bool {
	return errors.Is(err, errTaken) || errors.Is(err, errAccount) || errors.Is(err, errNoAccount) || apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err)
}

// Reconcile brings the fleet of one Gateway up to date. Everything that can be done is done, even if a part fails; but no pods run as
// an account that is not theirs. It must not run twice at once for the same key.
func (a *Applier) Reconcile(ctx context.Context, key string) error {
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

// replace applies the objects, and deletes what was there instead of them. The old is deleted only when the new Envoys are there:
// until then both serve. Whoever watches the objects tells of it by Changed.
func (a *Applier) replace(ctx context.Context, key string, s *state, objects []client.Object) error {
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
func (a *Applier) remove(ctx context.Context, key string, s *state) error {
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
