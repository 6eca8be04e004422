package controller

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

// writers is how many statuses are written at a time.
const writers = 4

// statusKey names the object of a status: its type and its key.
type statusKey struct {
	kind reflect.Type
	name client.ObjectKey
}

// StatusWriter writes what the translation concluded into the objects' statuses, for every kind alike. It runs on the leader; the
// other replicas' writers only remember, so that a new leader has everything to hand.
type StatusWriter struct {
	client     client.Client
	controller gwapiv1.GatewayController
	log        logr.Logger
	writes     *prometheus.CounterVec
	// The least times between two writes of one object: of a verdict, and of counts alone, which move with every route.
	interval, countInterval time.Duration
	// How long an object waits for an Envoy before its status tells of it.
	patience time.Duration

	mu      sync.Mutex
	latest  map[statusKey]*translator.Status
	written map[statusKey]time.Time
	waiting map[statusKey]time.Time // since when
	queue   workqueue.TypedRateLimitingInterface[statusKey]
	leading bool
}

// NewStatusWriter returns a writer that uses c. It reads objects where c does: from the informers' caches.
func NewStatusWriter(c client.Client, controller string, metrics prometheus.Registerer, log logr.Logger) *StatusWriter {
	w := &StatusWriter{
		client: c, controller: gwapiv1.GatewayController(controller), log: log, interval: 500 * time.Millisecond, countInterval: 1500 * time.Millisecond,
		patience: time.Second,
		latest:   map[statusKey]*translator.Status{}, written: map[statusKey]time.Time{}, waiting: map[statusKey]time.Time{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[statusKey](50*time.Millisecond, 30*time.Second)),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_status_writes_total", Help: "Status writes by kind and result.",
		}, []string{"kind", "result"}),
	}
	if metrics != nil {
		metrics.MustRegister(w.writes)
	}
	return w
}

// Set takes the newest status of an object.
func (w *StatusWriter) Set(s *translator.Status) {
	key := statusKey{reflect.TypeOf(s.Object), client.ObjectKey{Namespace: s.Object.GetNamespace(), Name: s.Object.GetName()}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest[key] = s
	if w.leading {
		w.queue.Add(key)
	}
}

// NeedLeaderElection is true: the leader alone writes.
func (w *StatusWriter) NeedLeaderElection() bool { return true }

// Start writes until the context ends.
func (w *StatusWriter) Start(ctx context.Context) error {
	w.mu.Lock()
	w.leading = true
	for key := range w.latest {
		w.queue.Add(key)
	}
	w.mu.Unlock()
	var workers sync.WaitGroup
	for range writers {
		workers.Go(func() { w.work(ctx) })
	}
	<-ctx.Done()
	w.queue.ShutDown()
	workers.Wait()
	return nil
}

func (w *StatusWriter) work(ctx context.Context) {
	for {
		key, shutdown := w.queue.Get()
		if shutdown {
			return
		}
		w.handle(ctx, key)
		w.queue.Done(key)
	}
}

func (w *StatusWriter) handle(ctx context.Context, key statusKey) {
	w.mu.Lock()
	status, rested := w.latest[key], time.Since(w.written[key])
	w.mu.Unlock()
	if rested < w.interval {
		w.queue.AddAfter(key, w.interval-rested)
		return
	}
	wrote, err := w.write(ctx, key, status, rested)
	kind := key.kind.Elem().Name()
	switch {
	case apierrors.IsConflict(err):
		w.writes.WithLabelValues(kind, "conflict").Inc()
		w.queue.AddRateLimited(key) // The cache has not seen the newest version yet.
		return
	case err != nil && ctx.Err() == nil:
		w.writes.WithLabelValues(kind, "error").Inc()
		w.log.Error(err, "status not written, trying again", "kind", kind, "object", key.name)
		w.queue.AddRateLimited(key)
		return
	}
	w.queue.Forget(key)
	if wrote {
		w.writes.WithLabelValues(kind, "success").Inc()
		w.mu.Lock()
		w.written[key] = time.Now()
		w.mu.Unlock()
	}
}

// write brings the object's status up to date, if it is the object that was judged. The last write was so long ago as rested says.
func (w *StatusWriter) write(ctx context.Context, key statusKey, s *translator.Status, rested time.Duration) (bool, error) {
	current := reflect.New(key.kind.Elem()).Interface().(client.Object)
	if err := w.client.Get(ctx, key.name, current); err != nil {
		// A kind that is not watched any more has no objects.
		if unwatched := new(cache.ErrResourceNotCached); apierrors.IsNotFound(err) || errors.As(err, &unwatched) {
			w.forget(key, s)
			return false, nil
		}
		return false, fmt.Errorf("read %s: %w", key.name, err)
	}
	if current.GetUID() != s.Object.GetUID() || current.GetGeneration() != s.Object.GetGeneration() {
		return false, nil // A newer one is being judged; its own status follows.
	}
	next, change := s.Apply(w.controller, current, metav1.Now().Rfc3339Copy())
	left := w.patienceLeft(key, change)
	switch {
	case left > 0:
		w.queue.AddAfter(key, left)
		return false, nil
	case change == translator.Nothing:
		return false, nil
	case change == translator.Counts && rested < w.countInterval:
		w.queue.AddAfter(key, w.countInterval-rested)
		return false, nil
	}
	if err := w.client.Status().Update(ctx, next.(client.Object)); err != nil {
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return false, fmt.Errorf("write the status of %s: %w", key.name, err)
	}
	return true, nil
}

// patienceLeft is how long the object's status shall still not tell that it waits: each change of a port makes all its listeners wait, and
// thousands of statuses would be written twice for nothing.
func (w *StatusWriter) patienceLeft(key statusKey, change translator.Change) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	since, waits := w.waiting[key]
	switch {
	case change != translator.Waiting:
		delete(w.waiting, key)
		return 0
	case !waits:
		since = time.Now()
		w.waiting[key] = since
	}
	return w.patience - time.Since(since)
}

func (w *StatusWriter) forget(key statusKey, s *translator.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest[key] == s {
		delete(w.latest, key)
		delete(w.written, key)
		delete(w.waiting, key)
	}
}
