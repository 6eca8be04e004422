package controller

import (
	"reflect"
	"time"

	"k8s.io/client-go/util/workqueue"
)

// newStatusQueue returns a queue that serves the kinds in turn: a Gateway does not wait behind the statuses of
// thousands of routes. A status that could not be written is tried again after 50 ms, then with growing delays, at
// least every 30 s.
func newStatusQueue() workqueue.TypedRateLimitingInterface[statusKey] {
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[statusKey]{Queue: &turns{waiting: map[reflect.Type]workqueue.Queue[statusKey]{}}})
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[statusKey](50*time.Millisecond, 30*time.Second),
		workqueue.TypedRateLimitingQueueConfig[statusKey]{
			DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[statusKey]{Queue: queue}),
		})
}

// turns is the order of a workqueue, which protects it: first in, first out within a kind.
type turns struct {
	kinds   []reflect.Type
	waiting map[reflect.Type]workqueue.Queue[statusKey]
	// next is the kind whose turn it is, an index of kinds.
	next int
}

// Touch does nothing: a key that is added again keeps its place.
func (*turns) Touch(statusKey) {}

// Push adds a key.
func (t *turns) Push(key statusKey) {
	if t.waiting[key.kind] == nil {
		t.kinds = append(t.kinds, key.kind)
		t.waiting[key.kind] = workqueue.DefaultQueue[statusKey]()
	}
	t.waiting[key.kind].Push(key)
}

// Len returns the number of keys.
func (t *turns) Len() (n int) {
	for _, q := range t.waiting {
		n += q.Len()
	}
	return n
}

// Pop removes and returns a key; the queue must not be empty.
func (t *turns) Pop() statusKey {
	for {
		q := t.waiting[t.kinds[t.next]]
		t.next = (t.next + 1) % len(t.kinds)
		if q.Len() > 0 {
			return q.Pop()
		}
	}
}
