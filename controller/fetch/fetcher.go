// Package fetch fetches content that policies need from web servers, and stores it for all replicas.
//
// The leader fetches, within limits, and stores each result as a ConfigMap in the namespace of the control plane. All
// replicas watch these ConfigMaps, so they translate the same content, and have it after a restart. Of large content
// only the digest is stored, by which each replica keeps the bytes on its disk (docs/decisions/054-fetched-content.md).
package fetch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/controller/fetch/disk"
	"gatehouse/translator"
)

const (
	// Timeout is the maximum time for one fetch.
	Timeout = 15 * time.Second
	// maxRunning is how many fetches run at the same time. A failed one is tried again after firstRetry, and then with
	// growing delays, which are up to half longer at random.
	maxRunning = 16
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

// Config is what a Fetcher works with.
type Config struct {
	// Client writes ConfigMaps into Namespace, which is that of the control plane.
	Client    client.Writer
	Namespace string
	HTTP      *Client
	// Files has the large content of this replica. MaxLarge is the maximum size of each such content, in bytes.
	Files    *disk.Cache
	MaxLarge int64
	// Put takes events for the translation, in their order. It must not block.
	Put func(events ...translator.Event)
	// Metrics may be nil.
	Metrics prometheus.Registerer
	Log     logr.Logger
}

// Fetcher fetches what Set tells it to. It decides what the content is, and writes, only between Start and the end of
// its context, on the leader. Other replicas fetch only large content, to have the bytes that the leader had (Run).
type Fetcher struct {
	Config
	results *prometheus.CounterVec
	// Known, if set before Start, returns true when everything that is needed has been Set and all ConfigMaps have been
	// seen, or false if ctx ends before.
	Known func(ctx context.Context) bool

	firstRetry, lastRetry, grace time.Duration
	maxStored                    int
	slots                        *slots

	mu     sync.Mutex
	wanted map[string]*translator.Fetch
	stored map[string]*stored
	// unwanted has the time since when the content is not needed. It is known since this replica leads.
	unwanted map[string]time.Time
	// queue is nil while this replica does not lead.
	queue   workqueue.TypedDelayingInterface[string]
	retries workqueue.TypedRateLimiter[string]
	large   copies
}

// New returns a Fetcher.
func New(c Config) *Fetcher {
	f := &Fetcher{
		Config: c,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_fetches_total",
			Help: "Fetches of content that policies need, by result: fetched, unchanged or failed.",
		}, []string{"result"}),
		firstRetry: firstRetry, lastRetry: lastRetry, grace: grace, maxStored: maxStored, slots: newSlots(maxRunning),
		wanted: map[string]*translator.Fetch{}, stored: map[string]*stored{}, large: newCopies(),
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(f.results)
	}
	return f
}

// Set tells the Fetcher what to fetch under a key. want is nil when nothing needs the content any more.
func (f *Fetcher) Set(key string, want *translator.Fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.wanted[key]
	if want == nil {
		delete(f.wanted, key)
	} else {
		f.wanted[key] = want
		delete(f.unwanted, key)
	}
	if before != nil && want != nil && !slices.Equal(before.Namespaces, want.Namespaces) {
		f.slotsOf(want).join(key, want.Namespaces)
	}
	f.tellAgain(key)
	f.wake(key)
}

// Pass puts events for the translation: in place of a ConfigMap of fetched content, the content.
func (f *Fetcher) Pass(events ...translator.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	passed := make([]translator.Event, len(events))
	for i, e := range events {
		passed[i] = e
		if c, ok := e.Object.(*corev1.ConfigMap); ok {
			if key, ours := KeyOf(f.Namespace, c); ours {
				passed[i] = translator.Event{Fetched: f.seen(key, c, e.Deleted), Deleted: e.Deleted}
			}
		}
	}
	f.Put(passed...)
}

// seen remembers what a ConfigMap has. If somebody else has deleted or changed it, it is fetched again. f.mu must be
// held.
func (f *Fetcher) seen(key string, c *corev1.ConfigMap, deleted bool) *translator.Fetched {
	before := f.stored[key]
	if deleted {
		delete(f.stored, key)
		f.wake(key)
		return f.report(key)
	}
	now := read(c, c.BinaryData)
	f.stored[key] = now
	if f.wanted[key] == nil || !before.empty() && now.empty() || f.lacks(key) {
		f.wake(key)
	}
	return f.report(key)
}

// report returns what the translation must know of a key. f.mu must be held.
func (f *Fetcher) report(key string) *translator.Fetched {
	s := f.stored[key]
	if s == nil {
		s = &stored{}
	}
	return f.choose(key, &translator.Fetched{Key: key, Content: s.content, File: s.file, Failure: s.failure})
}

// wake processes a key soon. f.mu must be held.
func (f *Fetcher) wake(key string) {
	switch {
	case f.queue != nil:
		f.queue.Add(key)
	case f.lacks(key):
		f.large.queue.Add(key)
	}
}

// Start fetches until the context ends. It may be called again then.
func (f *Fetcher) Start(ctx context.Context) error {
	if f.Known != nil && !f.Known(ctx) {
		return nil
	}
	queue := f.lead()
	defer f.follow()
	work(ctx, queue, f.process)
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
	for key := range f.stored {
		f.wake(key)
	}
}

// work processes keys until the context ends, each again after the time that process returns. There is a goroutine for
// each key, because most of them only wait, see slots.
func work(
	ctx context.Context, queue workqueue.TypedDelayingInterface[string],
	process func(context.Context, string) time.Duration,
) {
	defer context.AfterFunc(ctx, queue.ShutDown)()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		key, ended := queue.Get()
		if ended {
			return
		}
		all.Go(func() {
			if next := process(ctx, key); next > 0 {
				queue.AddAfter(key, next)
			}
			queue.Done(key)
		})
	}
}

// process brings one key up to date, and returns after what time it must be processed again; zero if only after a
// change.
func (f *Fetcher) process(ctx context.Context, key string) time.Duration {
	want, have := f.state(key)
	if want == nil {
		return f.clean(ctx, key, have)
	}
	if left := f.left(want, have); left > 0 {
		return left
	}
	release, ok := f.slotsOf(want).acquire(ctx, key, want.Namespaces)
	if !ok {
		return 0
	}
	defer release()
	if want, have = f.state(key); want == nil {
		return 0 // Set has put the key into the queue again.
	}
	return f.refresh(ctx, key, want, have)
}

// state is what is wanted and what is stored under a key.
func (f *Fetcher) state(key string) (*translator.Fetch, *stored) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wanted[key], f.stored[key]
}

// slotsOf are the slots that a fetch takes one of.
func (f *Fetcher) slotsOf(want *translator.Fetch) *slots {
	if want.Large {
		return f.large.slots
	}
	return f.slots
}

// left is the time until content is fetched again; zero or less if it must be fetched now.
func (f *Fetcher) left(want *translator.Fetch, have *stored) time.Duration {
	if !f.usable(want, have) {
		return 0
	}
	left := want.Refresh
	if want.SHA256 == "" {
		left = min(left, time.Until(have.at.Add(want.Refresh))) // No time of somebody else's lies far ahead.
	}
	return wait.Jitter(left, spread)
}

// refresh fetches what is under a key, and returns after what time it must be processed again.
func (f *Fetcher) refresh(ctx context.Context, key string, want *translator.Fetch, have *stored) time.Duration {
	etag := ""
	if f.usable(want, have) {
		etag = have.etag
	}
	err := f.fetch(ctx, key, want, have, etag)
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		f.failed(key, want, err)
		f.tell(ctx, want, have, err)
		return wait.Jitter(f.retries.When(key), 0.5)
	}
	f.retries.Forget(key)
	return wait.Jitter(want.Refresh, spread)
}

// usable reports whether this replica has what is stored, in the right form.
func (f *Fetcher) usable(want *translator.Fetch, have *stored) bool {
	switch {
	case have.empty():
		return false
	case want.Large:
		return f.Files.Has(have.file.Digest) && (want.SHA256 == "" || have.file.Digest == expected(want))
	}
	return have.content != nil && want.Check(have.content) == nil
}

// failed counts and logs a failed fetch.
func (f *Fetcher) failed(key string, want *translator.Fetch, err error) {
	f.results.WithLabelValues("failed").Inc()
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.report(key)
	older := now.Content != nil || now.Present
	f.Log.Info("could not fetch what a policy needs; trying again", "url", want.URL, "error", err.Error(), "older", older)
	f.large.failures[key] = failureOf(err)
	f.tellAgain(key)
}

// fetch fetches and stores content. etag is that of have, if have can be used.
func (f *Fetcher) fetch(ctx context.Context, key string, want *translator.Fetch, have *stored, etag string) error {
	now := time.Now()
	next, unchanged, err := f.get(ctx, want, etag)
	if err != nil {
		return err
	}
	result := "fetched"
	if unchanged {
		next.content, next.file, result = have.content, have.file, "unchanged"
	}
	next.at = now
	if !f.hasRoom(key, len(next.content)) {
		return Failure(fmt.Sprintf("with it, the control plane would have to keep more than %d bytes of such content",
			f.maxStored))
	}
	if err := f.store(ctx, want, next); err != nil {
		return err
	}
	f.results.WithLabelValues(result).Inc()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tellAgain(key)
	return nil
}

// get fetches content of the right form. Large content is in the cache then.
func (f *Fetcher) get(ctx context.Context, want *translator.Fetch, etag string) (next *stored, unchanged bool,
	err error,
) {
	if want.Large {
		file, answer, err := f.save(ctx, want, etag, expected(want))
		if err != nil {
			return nil, false, err
		}
		return &stored{file: file, etag: answer.ETag}, answer.Unchanged, nil
	}
	answer, err := f.HTTP.Through(want.Via).Get(ctx, want.URL, want.MaxBytes, etag)
	if err != nil {
		return nil, false, err
	}
	if answer.Unchanged {
		return &stored{etag: answer.ETag}, true, nil
	}
	if err := want.Check(answer.Content); err != nil {
		return nil, false, Failure(fmt.Sprintf("the content %v", err))
	}
	return &stored{content: answer.Content, etag: answer.ETag}, false, nil
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
	failure := failureOf(err)
	if failure == "" || !have.empty() || have != nil && have.failure == failure {
		return
	}
	if err := f.store(ctx, want, &stored{failure: failure}); err != nil && ctx.Err() == nil {
		f.Log.Error(err, "could not store why something was not fetched", "url", want.URL)
	}
}

func (f *Fetcher) store(ctx context.Context, want *translator.Fetch, s *stored) error {
	if err := f.Client.Apply(ctx, s.applied(f.Namespace, want), client.FieldOwner(fieldManager),
		client.ForceOwnership); err != nil {
		return fmt.Errorf("store what was fetched from %s: %w", want.URL, err)
	}
	return nil
}
