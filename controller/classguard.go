package controller

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

// guarded is how often a class in use is checked, because somebody may have removed its finalizer.
const guarded = time.Minute

// ClassGuard prevents GatewayClasses from being deleted while Gateways use them, with the finalizer that Gateway API
// recommends. It runs on the leader. The guards of other replicas only remember, so that a new leader has all the data.
type ClassGuard struct {
	client     client.Client
	controller gwapiv1.GatewayController
	log        logr.Logger
	queue      workqueue.TypedRateLimitingInterface[string]

	mu sync.Mutex
	// used has the existing classes of this controller.
	used    map[string]translator.ClassUse
	leading bool
}

// NewClassGuard returns a guard of the classes of a controller. It reads them with c: from the caches of the informers.
func NewClassGuard(c client.Client, controller string, log logr.Logger) *ClassGuard {
	return &ClassGuard{
		client: c, controller: gwapiv1.GatewayController(controller), log: log, used: map[string]translator.ClassUse{},
		queue: newClassQueue(),
	}
}

func newClassQueue() workqueue.TypedRateLimitingInterface[string] {
	return workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](50*time.Millisecond, 30*time.Second))
}

// Set sets how a class is used. A deleted class is forgotten.
func (g *ClassGuard) Set(class string, use translator.ClassUse) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if use == translator.ClassGone {
		delete(g.used, class)
		return
	}
	g.used[class] = use
	if g.leading {
		g.queue.Add(class)
	}
}

// Start works until the context ends. It may be called again then.
func (g *ClassGuard) Start(ctx context.Context) error {
	g.lead()
	defer g.follow()
	defer context.AfterFunc(ctx, g.queue.ShutDown)()
	for {
		class, ended := g.queue.Get()
		if ended {
			return nil
		}
		if err := g.guard(ctx, class); err != nil {
			if ctx.Err() == nil && !apierrors.IsConflict(err) { // The cache has not seen the newest version yet.
				g.log.Error(err, "could not set the finalizer of a GatewayClass; trying again", "class", class)
			}
			g.queue.AddRateLimited(class)
		} else {
			g.queue.Forget(class)
		}
		g.queue.Done(class)
	}
}

// lead starts the writing.
func (g *ClassGuard) lead() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.queue.ShuttingDown() {
		g.queue = newClassQueue()
	}
	g.leading = true
	for class := range maps.Keys(g.used) {
		g.queue.Add(class)
	}
}

// follow stops the writing.
func (g *ClassGuard) follow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leading = false
}

// guard brings the finalizer of one class up to date.
func (g *ClassGuard) guard(ctx context.Context, name string) error {
	g.mu.Lock()
	use := g.used[name]
	g.mu.Unlock()
	if use == translator.ClassGone {
		return nil
	}
	class := &gwapiv1.GatewayClass{}
	switch err := g.client.Get(ctx, client.ObjectKey{Name: name}, class); {
	case apierrors.IsNotFound(err):
		return nil // The tables will report it too.
	case err != nil:
		return fmt.Errorf("read GatewayClass %s: %w", name, err)
	case class.Spec.ControllerName != g.controller:
		return nil
	}
	guarding := class.DeepCopy()
	var changed bool
	switch {
	case use == translator.ClassUnused:
		changed = controllerutil.RemoveFinalizer(guarding, gwapiv1.GatewayClassFinalizerGatewaysExist)
	case class.DeletionTimestamp.IsZero(): // Later the API server accepts no new finalizer.
		changed = controllerutil.AddFinalizer(guarding, gwapiv1.GatewayClassFinalizerGatewaysExist)
		g.queue.AddAfter(name, guarded)
	}
	if !changed {
		return nil
	}
	err := g.client.Patch(ctx, guarding, client.MergeFromWithOptions(class, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the finalizers of GatewayClass %s: %w", name, err)
	}
	return nil
}
