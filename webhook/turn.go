package webhook

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// turns lets a few requests run at a time. Waiting peers take turns, and so do the users of a peer, with one request
// each. So a user with many requests delays other users only by a few, although the API server is one peer.
type turns struct {
	atOnce int

	mu      sync.Mutex
	free    int
	waiting []*waiter // The first one came first.
	// crowds are the peers and users with waiting requests. A peer has no user.
	crowds map[sender]*standing
	clock  uint64
	// hold is how long a turn takes: an average, of the last ones more than of those before.
	hold time.Duration
}

// sender is who sent a request: a peer, and the user whose request the peer passes on.
type sender struct{ peer, user string }

// waiter is a waiting request.
type waiter struct {
	from   sender
	called chan struct{}
}

// standing is what a peer or a user has waiting.
type standing struct {
	requests int
	// last is when it last had a turn, or began to wait.
	last uint64
}

func newTurns(atOnce int) *turns {
	return &turns{atOnce: atOnce, free: atOnce, crowds: map[sender]*standing{}}
}

// await waits for a turn. The caller calls done when it is over. If ctx will end before the turn comes, by all
// experience, it returns errCrowded at once.
func (t *turns) await(ctx context.Context, from sender) (done func(), err error) {
	w, err := t.join(ctx, from)
	if err != nil {
		return nil, err
	}
	if w != nil {
		select {
		case <-w.called:
		case <-ctx.Done():
			t.leave(w)
			return nil, fmt.Errorf("waiting for other requests: %w", context.Cause(ctx))
		}
	}
	begun := time.Now()
	return func() { t.done(time.Since(begun)) }, nil
}

// join lets a request wait. It returns nil if the request may continue at once.
func (t *turns) join(ctx context.Context, from sender) (*waiter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 { // Nobody is waiting then.
		t.free--
		return nil, nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		expected := t.hold * time.Duration(t.before(from)) / time.Duration(t.atOnce)
		if expected > time.Until(deadline) {
			return nil, fmt.Errorf("%w: its turn would come in %s", errCrowded, expected.Round(time.Second/10))
		}
	}
	w := &waiter{from: from, called: make(chan struct{})}
	t.waiting = append(t.waiting, w)
	for _, who := range from.levels() {
		if t.crowds[who] == nil {
			t.crowds[who] = &standing{last: t.tick()}
		}
		t.crowds[who].requests++
	}
	return w, nil
}

// levels are the peer of a sender, and the sender itself.
func (s sender) levels() []sender { return []sender{{peer: s.peer}, s} }

func (t *turns) tick() uint64 {
	t.clock++
	return t.clock
}

// before is the highest number of turns that pass until a new request of the sender has its own.
func (t *turns) before(from sender) int {
	ofUser := 1
	if mine := t.crowds[from]; mine != nil {
		ofUser += mine.requests
	}
	ofPeer := ofUser
	for who, s := range t.crowds {
		if who.peer == from.peer && who.user != "" && who != from {
			ofPeer += min(s.requests, ofUser)
		}
	}
	all := ofPeer
	for who, s := range t.crowds {
		if who.peer != from.peer && who.user == "" {
			all += min(s.requests, ofPeer)
		}
	}
	return all
}

// done gives the turn, which took so long, to the next one.
func (t *turns) done(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hold += (took - t.hold) / 8
	t.next()
}

func (t *turns) next() {
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	w := slices.MinFunc(t.waiting, func(a, b *waiter) int {
		return cmp.Or(cmp.Compare(t.crowds[sender{peer: a.from.peer}].last, t.crowds[sender{peer: b.from.peer}].last),
			cmp.Compare(t.crowds[a.from].last, t.crowds[b.from].last))
	})
	for _, who := range w.from.levels() {
		t.crowds[who].last = t.tick()
	}
	t.remove(w)
	close(w.called)
}

func (t *turns) remove(w *waiter) {
	t.waiting = slices.DeleteFunc(t.waiting, func(other *waiter) bool { return other == w })
	for _, who := range w.from.levels() {
		if t.crowds[who].requests--; t.crowds[who].requests == 0 {
			delete(t.crowds, who)
		}
	}
}

// leave stops waiting, or returns the turn that came meanwhile.
func (t *turns) leave(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.waiting, w) {
		t.next()
		return
	}
	t.remove(w)
}
