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
	// How long a new leader writes of no object that it waits: it does not know yet what Envoys have acknowledged to other replicas.
	handover time.Duration

	mu      sync.Mutex
	entries map[statusKey]*entry
	queue   workqueue.TypedRateLimitingInterface[statusKey]
	// leading is since when this replica writes; zero means that it does not.
	leading time.Time
}

// entry is what is known of an object that has a status. What is not under the writer's mutex belongs to the worker that has the key.
type entry struct {
	latest *translator.Status // Under the mutex.
	// waiting is since when the object waits for an Envoy without saying so; zero means that it does not. Under the mutex.
	waiting time.Time
	// written is when its status was last written.
	written time.Time
	// said is the status that was written last, or was there already; made is the version of the object that this made. If the object has another
	// status than what was said, somebody else has written it: it is restored after backoff, not before restoreAt.
	said      *translator.Status
	made      string // Under the mutex.
	backoff   time.Duration
	restoreAt time.Time
	// replaced is the resourceVersion that the last write replaced: a cache that still has it has not seen that write.
	replaced string
}

// NewStatusWriter returns a writer that uses c. It reads objects where c does: from the informers' caches.
func NewStatusWriter(c client.Client, controller string, metrics prometheus.Registerer, log logr.Logger) *StatusWriter {
	w := &StatusWriter{
		client: c, controller: gwapiv1.GatewayController(controller), log: log, interval: 500 * time.Millisecond, countInterval: 1500 * time.Millisecond,
		patience: time.Second, handover: 2 * beat, entries: map[statusKey]*entry{},
		queue: newStatusQueue(),
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
	key := keyOf(s.Object)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.entries[key] == nil {
		w.entries[key] = &entry{}
	}
	w.entries[key].latest = s
	if !w.leading.IsZero() {
		w.queue.Add(key)
	}
}

// Seen takes events of objects as they are stored: one that was changed by somebody else is looked at, as its status may have been.
func (w *StatusWriter) Seen(events ...translator.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leading.IsZero() {
		return
	}
	for _, event := range events {
		if event.Object == nil || event.Deleted {
			continue
		}
		key := keyOf(event.Object)
		if e := w.entries[key]; e != nil && e.made != event.Object.GetResourceVersion() {
			w.queue.Add(key)
		}
	}
}

// Forget takes an object that has no status any more.
func (w *StatusWriter) Forget(o translator.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.entries, keyOf(o))
}

func keyOf(o translator.Object) statusKey {
	return statusKey{reflect.TypeOf(o), client.ObjectKey{Namespace: o.GetNamespace(), Name: o.GetName()}}
}

// Start writes until the context ends. It may be called again then.
func (w *StatusWriter) Start(ctx context.Context) error {
	w.mu.Lock()
	if w.queue.ShuttingDown() {
		w.queue = newStatusQueue()
	}
	w.leading = time.Now()
	for key := range w.entries {
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
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leading = time.Time{}
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
	e := w.entries[key]
	w.mu.Unlock()
	if e == nil {
		w.queue.Forget(key) // The object has been forgotten since.
		return
	}
	if rested := time.Since(e.written); rested < w.interval {
		w.queue.AddAfter(key, w.interval-rested)
		return
	}
	wrote, err := w.write(ctx, key, e)
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
	}
}

// write brings the object's status up to date, if it is the object that was judged.
func (w *StatusWriter) write(ctx context.Context, key statusKey, e *entry) (bool, error) {
	w.mu.Lock()
	s := e.latest
	w.mu.Unlock()
	current := reflect.New(key.kind.Elem()).Interface().(client.Object)
	if err := w.client.Get(ctx, key.name, current); err != nil {
		// A kind that is not watched any more has no objects. Either way the object is about to be forgotten.
		if unwatched := new(cache.ErrResourceNotCached); apierrors.IsNotFound(err) || errors.As(err, &unwatched) {
			return false, nil
		}
		return false, fmt.Errorf("read %s: %w", key.name, err)
	}
	version := current.GetResourceVersion()
	if version == e.replaced {
		w.queue.AddAfter(key, w.interval)
		return false, nil
	}
	if current.GetUID() != s.Object.GetUID() || current.GetGeneration() != s.Object.GetGeneration() {
		return false, nil // A newer one is being judged; its own status follows.
	}
	next, change := s.Apply(w.controller, current, metav1.Now().Rfc3339Copy())
	if left := w.waits(e, s, change); left > 0 {
		w.queue.AddAfter(key, left)
		return false, nil
	}
	if change == translator.Nothing {
		e.said = s
		return false, nil
	}
	written := next.(client.Object)
	if err := w.client.Status().Update(ctx, written); err != nil {
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return false, fmt.Errorf("write the status of %s: %w", key.name, err)
	}
	w.note(e, s, written.GetResourceVersion())
	if written.GetResourceVersion() != version { // What changes nothing is no new version.
		e.replaced = version
	}
	return true, nil
}

// waits is how long a change of the object's status is not to be written yet.
func (w *StatusWriter) waits(e *entry, s *translator.Status, change translator.Change) time.Duration {
	left := w.patienceLeft(e, change)
	switch {
	case left > 0 || change == translator.Nothing:
		return left
	case s == e.said:
		return time.Until(e.restoreAt)
	case change == translator.Counts:
		return w.countInterval - time.Since(e.written)
	default:
		return 0
	}
}

// A status that somebody else goes on writing over is restored less and less often, until it has been left alone for a while.
const (
	firstRestore = time.Second
	lastRestore  = 10 * time.Minute
)

// note notes that a status was written, and which version of the object that made.
func (w *StatusWriter) note(e *entry, s *translator.Status, version string) {
	now := time.Now()
	if s == e.said {
		if now.Sub(e.written) > 2*lastRestore {
			e.backoff = 0
		}
		e.backoff = min(max(2*e.backoff, firstRestore), lastRestore)
		e.restoreAt = now.Add(e.backoff)
	}
	e.said, e.written = s, now
	w.mu.Lock()
	defer w.mu.Unlock()
	e.made = version
}

// patienceLeft is how long the object's status shall still not tell that it waits: each change of a port makes all its listeners wait, and
// thousands of statuses would be written twice for nothing. So would those of all that is served by the proxies of other replicas, when the
// leader changes.
func (w *StatusWriter) patienceLeft(e *entry, change translator.Change) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case change != translator.Waiting:
		e.waiting = time.Time{}
		return 0
	case e.waiting.IsZero():
		e.waiting = time.Now()
	}
	return max(w.patience-time.Since(e.waiting), w.handover-time.Since(w.leading))
}
