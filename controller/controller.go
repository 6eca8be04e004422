// Package controller runs the system: one goroutine takes events in batches, translates them, and passes the changes to
// delivery, infrastructure and the status writer.
package controller

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// Outlets receive the changes of a batch. None of them may block.
type Outlets struct {
	// Publish delivers resources to the proxies. Synced is called when the first complete set has been published.
	Publish func([]translator.Delta)
	Synced  func()
	// Infrastructure receives the requirement of a Gateway; nil means that it no longer has one.
	Infrastructure func(gateway string, r *translator.Requirement)
	// Fetch is called with a key and the content to fetch under it. The content is nil when nothing needs it any more.
	Fetch func(key string, f *translator.Fetch)
	// Class receives how a GatewayClass is used.
	Class func(class string, use translator.ClassUse)
	// Status receives the desired status of an object.
	Status func(*translator.Status)
	// Applied receives the events of a batch after the tables have taken them, and what these say was touched. It may be
	// nil.
	Applied func(events []translator.Event, touched map[verdict.Ref]bool)
	// Forget receives an object that no longer has a status.
	Forget func(translator.Object)
}

// Controller turns events into outcomes, one batch at a time. Events that arrive during a batch become the next batch.
type Controller struct {
	world   *translator.World
	outlets Outlets
	queue   *queue
	log     logr.Logger
	batches prometheus.Histogram

	mu     sync.Mutex
	synced bool
	done   chan struct{}
}

// New returns a controller over a world. Metrics may be nil.
func New(world *translator.World, outlets Outlets, metrics prometheus.Registerer, log logr.Logger) *Controller {
	c := &Controller{
		world: world, outlets: outlets, queue: newQueue(), log: log, done: make(chan struct{}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "gatehouse_batch_duration_seconds",
			Help:    "Time from taking a batch of events to having handed out what it changed.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
	}
	if metrics != nil {
		metrics.MustRegister(c.batches)
	}
	return c
}

// Put adds events; they are part of the next batch.
func (c *Controller) Put(events ...translator.Event) { c.queue.put(events...) }

// Run translates until the context ends. Before it is called, the events of all existing objects must have been put.
// They form one batch, and nothing is sent before it is complete, so that a restart changes nothing that proxies have.
func (c *Controller) Run(ctx context.Context) {
	moment := c.batch(c.queue.drain())
	c.outlets.Synced()
	c.mu.Lock()
	c.synced = true
	c.mu.Unlock()
	close(c.done)
	for {
		events, ok := c.queue.take(ctx, moment)
		if !ok {
			return
		}
		moment = c.batch(events)
	}
}

// Synced reports whether everything that existed at the start has been translated.
func (c *Controller) Synced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synced
}

// WaitSynced waits for Synced. It returns false if the context ends before.
func (c *Controller) WaitSynced(ctx context.Context) bool {
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// batch translates events, or the changes of the clock if there are none. It returns the time when the clock changes
// something next.
func (c *Controller) batch(events []translator.Event) time.Time {
	start := time.Now()
	outcome, err := c.world.Apply(events)
	if err != nil {
		c.log.Error(err, "some events were not understood")
	}
	c.outlets.Publish(outcome.Deltas)
	for gateway, r := range outcome.Requirements {
		c.outlets.Infrastructure(gateway, r)
	}
	for key, f := range outcome.Fetches {
		c.outlets.Fetch(key, f)
	}
	for class, use := range outcome.Classes {
		c.outlets.Class(class, use)
	}
	for _, s := range outcome.Statuses {
		c.outlets.Status(s)
	}
	for _, o := range outcome.Forgotten {
		c.outlets.Forget(o)
	}
	if c.outlets.Applied != nil {
		c.outlets.Applied(events, outcome.Touched)
	}
	c.batches.Observe(time.Since(start).Seconds())
	c.log.V(1).Info("translated a batch", "events", len(events), "fleets", len(outcome.Deltas), "statuses",
		len(outcome.Statuses), "took", time.Since(start))
	return outcome.Moment
}
