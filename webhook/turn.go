package webhook

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// turns lets a few requests run at a time. Waiting peers take turns, with one request each, so that a peer with many
// requests delays another peer only by a few.
type turns struct {
	mu   sync.Mutex
	free int
	// lines are the waiting requests by peer; order are the peers with a line, the next one first.
	lines map[string][]chan struct{}
	order []string
}

func newTurns(atOnce int) *turns { return &turns{free: atOnce, lines: map[string][]chan struct{}{}} }

// await waits for a turn. The caller calls done when it is over.
func (t *turns) await(ctx context.Context, peer string) (done func(), err error) {
	called := t.line(peer)
	if called == nil {
		return t.done, nil
	}
	select {
	case <-called:
		return t.done, nil
	case <-ctx.Done():
		t.leave(peer, called)
		return nil, fmt.Errorf("waiting for other requests: %w", context.Cause(ctx))
	}
}

// line gives the peer a place to wait, nil if it may continue at once.
func (t *turns) line(peer string) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 { // Nobody is waiting then.
		t.free--
		return nil
	}
	called := make(chan struct{})
	if len(t.lines[peer]) == 0 {
		t.order = append(t.order, peer)
	}
	t.lines[peer] = append(t.lines[peer], called)
	return called
}

// done gives the turn to the next one.
func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		t.free++
		return
	}
	peer := t.order[0]
	t.order = slices.Delete(t.order, 0, 1)
	line := t.lines[peer]
	close(line[0])
	if len(line) == 1 {
		delete(t.lines, peer)
		return
	}
	t.lines[peer] = slices.Delete(line, 0, 1)
	t.order = append(t.order, peer)
}

// leave stops waiting, or returns the turn that came meanwhile.
func (t *turns) leave(peer string, called chan struct{}) {
	t.mu.Lock()
	i := slices.Index(t.lines[peer], called)
	if i < 0 {
		t.mu.Unlock()
		t.done()
		return
	}
	defer t.mu.Unlock()
	if t.lines[peer] = slices.Delete(t.lines[peer], i, i+1); len(t.lines[peer]) == 0 {
		delete(t.lines, peer)
		t.order = slices.DeleteFunc(t.order, func(p string) bool { return p == peer })
	}
}
