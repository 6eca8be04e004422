package webhook

import (
	"context"
	"fmt"
	"sync"
)

// The bounds of what is judged at a time. They hold for both webhooks together.
const (
	// maxJudged is how many requests are decoded and tried at a time. The tables take one trial at a time anyway.
	maxJudged = 4
	// maxPresent is how many requests are there at a time: those that are judged, and those that wait for it.
	maxPresent = 256
	// maxPresentBytes is how large the bodies of all of them may be together.
	maxPresentBytes = 64 << 20
)

// crowd are the requests that are there. A request that comes when there are too many is turned away, so that a flood of them costs a bounded
// amount of memory.
type crowd struct {
	judged chan struct{}

	mu      sync.Mutex
	present int
	bytes   int64
}

func newCrowd() *crowd { return &crowd{judged: make(chan struct{}, maxJudged)} }

// enter takes a place for a request with a body of that size; a negative size is unknown. The caller gives the place back by leave.
func (c *crowd) enter(size int64) (leave func(), err error) {
	if size < 0 || size > maxRequest {
		size = maxRequest // More is not read.
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.present >= maxPresent || c.bytes+size > maxPresentBytes {
		return nil, fmt.Errorf("%d others of together %d bytes are waiting already", c.present, c.bytes)
	}
	c.present++
	c.bytes += size
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.present--
		c.bytes -= size
	}, nil
}

// await waits for the request's turn to be judged. The caller says by done when it is over.
func (c *crowd) await(ctx context.Context) (done func(), err error) {
	select {
	case c.judged <- struct{}{}:
		return func() { <-c.judged }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for other requests: %w", ctx.Err())
	}
}
