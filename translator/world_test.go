package translator

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/translator/flow"
)

// impatient is a context that ends after it was asked a number of times.
type impatient struct {
	context.Context
	left int
}

func (i *impatient) Err() error {
	if i.left == 0 {
		return context.DeadlineExceeded
	}
	i.left--
	return nil
}

// held is what the tables hold, without what it has cost.
func held(w *World) []flow.TableStats {
	stats := w.engine.Stats()
	for i, s := range stats {
		stats[i] = flow.TableStats{
			Name: s.Name, Rows: s.Rows, Deps: s.Deps, Readers: s.Readers, Keys: s.Keys,
			Entries: s.Entries,
		}
	}
	return stats
}

// TestGivenUpTrialsLeaveNoTrace gives up trials of objects of all kinds before each row and after each table.
func TestGivenUpTrialsLeaveNoTrace(t *testing.T) {
	places := 0
	for seed := range uint64(6) {
		h, w := newHistory(seed), newWorld(t)
		events := h.opening()
		for range 60 {
			events = append(events, h.event())
		}
		if _, err := w.Apply(events); err != nil {
			t.Fatal(err)
		}
		before, fresh := held(w), h.fresh(w)
		for range 12 {
			object := h.object()
			for patience := 1; ; patience++ { // The first question is before the lock.
				_, err := w.Try(&impatient{t.Context(), patience}, object)
				if diff := flow.Diff(w.engine, fresh); diff != "" {
					t.Fatalf("seed %d, %T given up after %d: the tables differ from a fresh start: %s", seed, object, patience, diff)
				}
				if diff := cmp.Diff(before, held(w)); diff != "" {
					t.Fatalf("seed %d, %T given up after %d: what the tables hold (-before +after):\n%s", seed, object, patience, diff)
				}
				if err == nil {
					break
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("seed %d, %T given up after %d: %v", seed, object, patience, err)
				}
				places++
			}
		}
	}
	if places < 1000 {
		t.Errorf("there were only %d places to give up at", places)
	}
}

// TestTrialDoesNotWaitForEver: who waits for the tables while a batch is computed stops waiting in time.
func TestTrialDoesNotWaitForEver(t *testing.T) {
	w := newWorld(t)
	w.turn.lock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := w.Try(ctx, benchRoute(1, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
	w.turn.unlock()
	if _, err := w.Try(t.Context(), benchRoute(1, 1)); err != nil {
		t.Errorf("after that: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Try(ended, benchRoute(1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: error %v", err)
	}
}
