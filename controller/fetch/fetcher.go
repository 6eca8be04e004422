// Package fetch fetches content that policies need from web servers, and stores it for all replicas.
//
// The leader fetches, within limits, and stores each result as a ConfigMap in the namespace of the control plane. All
// replicas watch these ConfigMaps, so they translate the same content, and have it after a restart
// (docs/decisions/054-fetched-content.md).
package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

const (
	// Timeout is the maximum time for one fetch.
	Timeout = 15 * time.Second
	// workers is how many fetches run at the same time. A failed one is tried again after firstRetry, and then with growing
	// delays, which are up to half longer at random.
	workers    = 16
	firstRetry = 2 * time.Second
	lastRetry  = 10 * time.Minute
	// grace is how long content is kept that nothing needs any more. A policy may be deleted and created again.
	grace = time.Hour
	// maxStored is the maximum size of all content together, in bytes. Each replica has all of it in memory.
	maxStored = 32 << 20
	// spread is how much later than at its Refresh content may be fetched again, at random, as a part of Refresh.
	spread = 0.1
	// fieldManager owns the fields of the ConfigMaps.
	fieldManager = "gatehouse"
)

// Fetcher fetches what Set tells it to. It fetches and writes only between Start and the end of its context, on the leader.
// On other replicas it only remembers, so that a new leader has all the data.
type Fetcher struct {
	client    client.Writer
	http      *Client
	namespace string
	log       logr.Logger
	results   *prometheus.CounterVec
	// Known, if set before Start, returns true when everything that is needed has been Set and all ConfigMaps have been
	// seen, or false if ctx ends before.
	Known func(ctx context.Context) bool

	firstRetry, lastRetry, grace time.Duration
	maxStored                    int

	mu     sync.Mutex
	wanted map[string]*translator.Fetch
	stored map[string]*stored
	// unwanted has the time since when the content is not needed. It is known since this replica leads.
	unwanted map[string]time.Time
	// queue is nil while this replica does not lead.
	queue   workqueue.TypedDelayingInterface[string]
	retries workqueue.TypedRateLimiter[string]
}

// New returns a Fetcher that writes ConfigMaps into the namespace with c. Metrics may be nil.
func New(c client.Writer, http *Client, namespace string, metrics prometheus.Registerer, log logr.Logger) *Fetcher {
	f := &Fetcher{
		client: c, http: http, namespace: namespace, log: log,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_fetches_total", Help: "Fetches of content that policies need, by result: fetched, unchanged or failed.",
		}, []string{"result"}),
		firstRetry: firstRetry, lastRetry: lastRetry, grace: grace, maxStored: maxStored,
		wanted: map[string]*translator.Fetch{}, stored: map[string]*stored{},
	}
	if metrics != nil {
		metrics.MustRegister(f.results)
	}
	return f
}

// Set tells the Fetcher what to fetch under a key. want is nil when nothing needs the content any more.
func (f *Fetcher) Set(key string, want *translator.Fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if want == nil {
		delete(f.wanted, key)
	} else {
		f.wanted[key] = want
		delete(f.unwanted, key)
	}
	f.wake(key)
}

// Translate returns the events for the translation: in place of a ConfigMap of fetched content, the content.
func (f *Fetcher) Translate(events ...translator.Event) []translator.Event {
	translated := make([]translator.Event, len(events))
	for i, e := range events {
		translated[i] = e
		if c, ok := e.Object.(*corev1.ConfigMap); ok {
			if key, ours := KeyOf(f.namespace, c); ours {
				translated[i] = translator.Event{Fetched: f.seen(key, c, e.Deleted), Deleted: e.Deleted}
			}
		}
	}
	return translated
}

// seen remembers what a ConfigMap has. If somebody else has deleted or changed it, it is fetched again.
func (f *Fetcher) seen(key string, c *corev1.ConfigMap, deleted bool) *translator.Fetched {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.stored[key]
	if deleted {
		delete(f.stored, key)
		f.wake(key)
		return &translator.Fetched{Key: key}
	}
	now := read(c, c.BinaryData)
	f.stored[key] = now
	if f.wanted[key] == nil || before != nil && before.content != nil && now.content == nil {
		f.wake(key)
	}
	return &translator.Fetched{Key: key, Content: now.content, Failure: now.failure}
}

// wake processes a key soon if this replica leads. f.mu must be held.
func (f *Fetcher) wake(key string) {
	if f.queue != nil {
		f.queue.Add(key)
	}
}

// Start fetches until the context ends. It may be called again then.
func (f *Fetcher) Start(ctx context.Context) error {
	if f.Known != nil && !f.Known(ctx) {
		return nil
	}
	queue := f.lead()
	defer f.follow()
	defer context.AfterFunc(ctx, queue.ShutDown)()
	var running sync.WaitGroup
	for range workers {
		running.Go(func() { f.work(ctx, queue) })
	}
	running.Wait()
	return nil
}

func (f *Fetcher) lead() workqueue.TypedDelayingInterface[string] {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = workqueue.NewTypedDelayingQueue[string]()
	f.retries = workqueue.NewTypedItemExponentialFailureRateLimiter[string](f.firstRetry, f.lastRetry)
	f.unwanted = map[string]time.Time{}
	for key := range f.wanted {
		f.queue.Add(key)
	}
	for key := range f.stored {
		f.queue.Add(key)
	}
	return f.queue
}

func (f *Fetcher) follow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = nil
}

func (f *Fetcher) work(ctx context.Context, queue workqueue.TypedDelayingInterface[string]) {
	for {
		key, ended := queue.Get()
		if ended {
			return
		}
		if next := f.process(ctx, key); next > 0 {
			queue.AddAfter(key, next)
		}
		queue.Done(key)
	}
}

// process brings one key up to date, and returns after what time it must be processed again; zero if only after a change.
func (f *Fetcher) process(ctx context.Context, key string) time.Duration {
	f.mu.Lock()
	want, have := f.wanted[key], f.stored[key]
	f.mu.Unlock()
	if want == nil {
		return f.clean(ctx, key, have)
	}
	etag := ""
	if have != nil && have.content != nil && want.Check(have.content) == nil {
		if left := time.Until(have.at.Add(want.Refresh)); left > 0 {
			return wait.Jitter(min(left, want.Refresh), spread) // No time of somebody else's lies far ahead.
		}
		etag = have.etag
	}
	err := f.fetch(ctx, key, want, have, etag)
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		f.results.WithLabelValues("failed").Inc()
		f.log.Info("could not fetch what a policy needs; trying again", "url", want.URL, "error", err.Error(), "older", have != nil && have.content != nil)
		f.tell(ctx, want, have, err)
		return wait.Jitter(f.retries.When(key), 0.5)
	}
	f.retries.Forget(key)
	return wait.Jitter(want.Refresh, spread)
}

// fetch fetches and stores content. etag is that of have, if have can be used.
func (f *Fetcher) fetch(ctx context.Context, key string, want *translator.Fetch, have *stored, etag string) error {
	now := time.Now()
	answer, err := f.http.Get(ctx, want.URL, want.MaxBytes, etag)
	if err != nil {
		return err
	}
	next, result := &stored{content: answer.Content, etag: answer.ETag, at: now}, "fetched"
	if answer.Unchanged {
		next.content, result = have.content, "unchanged"
	} else if err := want.Check(answer.Content); err != nil {
		return Failure(fmt.Sprintf("the content %v", err))
	}
	if !f.hasRoom(key, len(next.content)) {
		return Failure(fmt.Sprintf("with it, the control plane would have to keep more than %d bytes of such content", f.maxStored))
	}
	if err := f.store(ctx, want, next); err != nil {
		return err
	}
	f.results.WithLabelValues(result).Inc()
	return nil
}

// hasRoom reports whether content of that size may be stored under the key.
func (f *Fetcher) hasRoom(key string, size int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for other, s := range f.stored {
		if other != key {
			size += len(s.content)
		}
	}
	return size <= f.maxStored
}

// tell stores why there is no content. Content that is there already stays.
func (f *Fetcher) tell(ctx context.Context, want *translator.Fetch, have *stored, err error) {
	var failure Failure
	if !errors.As(err, &failure) || have != nil && (have.content != nil || have.failure == string(failure)) {
		return
	}
	if err := f.store(ctx, want, &stored{failure: string(failure)}); err != nil && ctx.Err() == nil {
		f.log.Error(err, "could not store why something was not fetched", "url", want.URL)
	}
}

func (f *Fetcher) store(ctx context.Context, want *translator.Fetch, s *stored) error {
	if err := f.client.Apply(ctx, s.applied(f.namespace, want), client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("store what was fetched from %s: %w", want.URL, err)
	}
	return nil
}

// clean deletes content that has not been needed for some time.
func (f *Fetcher) clean(ctx context.Context, key string, have *stored) time.Duration {
	f.retries.Forget(key)
	if left := f.graceLeft(key, have != nil); have == nil || left > 0 {
		return left
	}
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: namePrefix + key}}
	if err := f.client.Delete(ctx, c); client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
		f.log.Error(err, "could not delete fetched content that nothing needs any more; trying again", "name", c.Name)
		return f.lastRetry
	}
	return 0
}

// graceLeft is how long content that is not needed is still kept.
func (f *Fetcher) graceLeft(key string, exists bool) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !exists {
		delete(f.unwanted, key)
		return 0
	}
	if _, ok := f.unwanted[key]; !ok {
		f.unwanted[key] = time.Now()
	}
	return max(f.grace-time.Since(f.unwanted[key]), 0)
}
