package controller

import (
	"context"
	"sync"
	"time"

	"gatehouse/translator"
)

// queue has the events that wait for the next batch. Putting never blocks, so a batch never delays an informer.
type queue struct {
	mu     sync.Mutex
	events []translator.Event
	// wake has capacity one: a batch takes all waiting events.
	wake chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(events ...translator.Event) {
	q.mu.Lock()
	q.events = append(q.events, events...)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // The reader is already awake.
	}
}

// take waits for events and returns all of them, or none at the given time. It returns false if the context ends.
func (q *queue) take(ctx context.Context, until time.Time) ([]translator.Event, bool) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for ctx.Err() == nil {
		if events := q.drain(); len(events) > 0 {
			return events, true
		}
		select {
		case <-q.wake:
		case <-timer.C:
			return nil, true
		case <-ctx.Done():
		}
	}
	return nil, false
}

func (q *queue) drain() []translator.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events = nil
	return events
}
