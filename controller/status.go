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
	"gatehouse/translator/status"
)

// writers is how many statuses are written at the same time.
const writers = 4

// statusKey identifies the object of a status: its type and its key.
type statusKey struct {
	kind reflect.Type
	name client.ObjectKey
}

// StatusWriter writes the conclusions of the translation into the statuses of the objects, in the same way for every
// kind. It runs on the leader. The writers of other replicas only remember, so that a new leader has all the data.
type StatusWriter struct {
	client     client.Client
	controller gwapiv1.GatewayController
	log        logr.Logger
	writes     *prometheus.CounterVec
	// The minimum times between two writes of one object: for a verdict, and for counts alone, which change with every
	// route.
	interval, countInterval time.Duration
	// How long an object waits for an Envoy before its status reports it.
	patience time.Duration
	// How long a new leader does not report that an object waits: it does not know yet what Envoys have acknowledged to
	// other replicas.
	handover time.Duration

	mu      sync.Mutex
	entries map[statusKey]*entry
	queue   workqueue.TypedRateLimitingInterface[statusKey]
	// leading is the time since when this replica writes; zero means that it does not.
	leading time.Time
}

// entry is the state of an object that has a status. Fields that the writer's mutex does not protect belong to the
// worker that has the key.
type entry struct {
	latest *translator.Status // Protected by the mutex.
	// waiting is the time since when the object waits for an Envoy and its status does not report it; zero means that
	// it does not wait. Protected by the mutex.
	waiting time.Time
	// written is when the status was last written.
	written time.Time
	// said is the last status that was written, or that was there already; made is the version of the object that this
	// created. If the object has another status than said, another writer has changed it: it is restored after backoff,
	// not before restoreAt.
	said      *translator.Status
	made      string // Protected by the mutex.
	backoff   time.Duration
	restoreAt time.Time
	// replaced is the resourceVersion that the last write replaced: a cache that still has it has not seen that write.
	replaced string
	// refused is the resourceVersion of the object whose status the API server has refused to write because of the rest
	// of it, refusedAt when that was.
	refused   string
	refusedAt time.Time
}

// NewStatusWriter returns a writer that uses c. It reads objects with c: from the caches of the informers.
func NewStatusWriter(c client.Client, controller string, metrics prometheus.Registerer, log logr.Logger) *StatusWriter {
	w := &StatusWriter{
		client: c, controller: gwapiv1.GatewayController(controller), log: log, interval: 500 * time.Millisecond,
		countInterval: 1500 * time.Millisecond,
		patience:      time.Second, handover: 2 * beat, entries: map[statusKey]*entry{},
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

// Set receives the newest status of an object.
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

// Seen receives events of stored objects: an object that somebody else has changed is checked, because its status may
// have changed too.
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

// Forget receives an object that no longer has a status.
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
		w.queue.Forget(key) // The object has been forgotten meanwhile.
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
		w.queue.AddRateLimited(key) // The cache does not have the newest version yet.
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

// write updates the object's status, if the stored object is the one that was judged.
func (w *StatusWriter) write(ctx context.Context, key statusKey, e *entry) (bool, error) {
	w.mu.Lock()
	s := e.latest
	w.mu.Unlock()
	current := reflect.New(key.kind.Elem()).Interface().(client.Object)
	if err := w.client.Get(ctx, key.name, current); err != nil {
		// A kind that is no longer watched has no objects. In both cases the object is about to be forgotten.
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
	if rested := time.Since(e.refusedAt); version == e.refused && rested < refusedInterval {
		w.queue.AddAfter(key, refusedInterval-rested)
		return false, nil
	}
	if current.GetUID() != s.Object.GetUID() || current.GetGeneration() != s.Object.GetGeneration() {
		return false, nil // A newer version is being judged; its own status follows.
	}
	next, change := s.Merge(w.controller, current, metav1.Now().Rfc3339Copy())
	if left := w.waits(e, s, change); left > 0 {
		w.queue.AddAfter(key, left)
		return false, nil
	}
	if change == status.Nothing {
		e.said = s
		return false, nil
	}
	written := next.(client.Object)
	if err := w.client.Status().Update(ctx, written); err != nil {
		switch {
		case apierrors.IsNotFound(err):
			return false, nil
		case refusesObject(err):
			w.noteRefused(ctx, key, e, current, err)
			return false, nil
		}
		return false, fmt.Errorf("write the status of %s: %w", key.name, err)
	}
	w.note(e, s, written.GetResourceVersion())
	w.tellOfCertificates(ctx, current, written)
	if written.GetResourceVersion() != version { // A write without a change creates no new version.
		e.replaced = version
	}
	return true, nil
}

// waits is how long a change of the object's status must wait before it is written.
func (w *StatusWriter) waits(e *entry, s *translator.Status, change status.Change) time.Duration {
	left := w.patienceLeft(e, change)
	switch {
	case left > 0 || change == status.Nothing:
		return left
	case s == e.said:
		return time.Until(e.restoreAt)
	case change == status.Counts:
		return w.countInterval - time.Since(e.written)
	default:
		return 0
	}
}

// A status that another writer keeps overwriting is restored with growing delays, until it has been left alone for a
// while.
const (
	firstRestore = time.Second
	lastRestore  = 10 * time.Minute
)

// note records that a status was written, and the version of the object that this created.
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

// patienceLeft is how much longer the object's status does not report that it waits. Each change of a port makes all
// its listeners wait, and thousands of statuses would be written twice without benefit. The same would happen to
// everything that proxies of other replicas serve, when the leader changes.
func (w *StatusWriter) patienceLeft(e *entry, change status.Change) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case change != status.Waiting:
		e.waiting = time.Time{}
		return 0
	case e.waiting.IsZero():
		e.waiting = time.Now()
	}
	return max(w.patience-time.Since(e.waiting), w.handover-time.Since(w.leading))
}
