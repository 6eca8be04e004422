package fetch

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// slots limits how many fetches run at the same time, and shares them out among namespaces. The next free slot is for
// the namespace that has the fewest, and among equal ones for that which has waited for a turn longest. A namespace
// takes a slot only while more are free than it has, so that slow servers of one namespace leave slots for the others.
type slots struct {
	mu   sync.Mutex
	free int
	// taken counts the slots of each namespace. turns says when a namespace took the last one.
	taken map[string]int
	turns map[string]int
	turn  int
	// waiting are the waiters of each namespace, the first one first. Those that have ended are removed later.
	waiting map[string][]*waiter
}

// waiter is a fetch that waits for a slot of any of its namespaces.
type waiter struct {
	key string
	// granted is closed when the waiter has a slot, which then counts for namespace.
	granted   chan struct{}
	namespace string
	ended     bool
}

func newSlots(free int) *slots {
	return &slots{free: free, taken: map[string]int{}, turns: map[string]int{}, waiting: map[string][]*waiter{}}
}

// acquire waits for a slot for something that the namespaces need. It returns false if the context ends before.
func (s *slots) acquire(ctx context.Context, key string, namespaces []string) (release func(), ok bool) {
	w := &waiter{key: key, granted: make(chan struct{})}
	s.mu.Lock()
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	for _, n := range namespaces {
		s.waiting[n] = append(s.waiting[n], w)
	}
	s.grant()
	s.mu.Unlock()
	select {
	case <-w.granted:
		return func() { s.release(w) }, true
	case <-ctx.Done():
		s.abandon(w)
		return nil, false
	}
}

// join lets what waits under a key wait for slots of these namespaces too.
func (s *slots) join(key string, namespaces []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var waits []*waiter
	for _, list := range s.waiting {
		for _, w := range list {
			if w.key == key && !w.ended && !slices.Contains(waits, w) {
				waits = append(waits, w)
			}
		}
	}
	for _, w := range waits {
		for _, n := range namespaces {
			if !slices.Contains(s.waiting[n], w) {
				s.waiting[n] = append(s.waiting[n], w)
			}
		}
	}
	s.grant()
}

func (s *slots) release(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.taken[w.namespace]--; s.taken[w.namespace] == 0 {
		delete(s.taken, w.namespace)
		if len(s.waiting[w.namespace]) == 0 {
			delete(s.turns, w.namespace)
		}
	}
	s.grant()
}

// abandon ends a waiter, with its slot if it has just got one.
func (s *slots) abandon(w *waiter) {
	s.mu.Lock()
	granted := w.ended
	w.ended = true
	s.mu.Unlock()
	if granted {
		s.release(w)
	}
}

// grant gives free slots to those whose turn it is. s.mu must be held.
func (s *slots) grant() {
	for {
		namespace, ok := s.next()
		if !ok {
			return
		}
		w := s.waiting[namespace][0]
		w.namespace, w.ended = namespace, true
		s.free--
		s.taken[namespace]++
		s.turn++
		s.turns[namespace] = s.turn
		close(w.granted)
	}
}

// next returns the namespace that gets the next slot, if any does. Its first waiter has not ended. s.mu must be held.
func (s *slots) next() (namespace string, ok bool) {
	for n, list := range s.waiting {
		first := slices.IndexFunc(list, func(w *waiter) bool { return !w.ended })
		if first < 0 {
			delete(s.waiting, n)
			if s.taken[n] == 0 {
				delete(s.turns, n)
			}
			continue
		}
		s.waiting[n] = list[first:]
		if !ok || s.compare(n, namespace) < 0 {
			namespace, ok = n, true
		}
	}
	return namespace, ok && s.taken[namespace] < s.free
}

func (s *slots) compare(a, b string) int {
	return cmp.Or(cmp.Compare(s.taken[a], s.taken[b]), cmp.Compare(s.turns[a], s.turns[b]), cmp.Compare(a, b))
}
