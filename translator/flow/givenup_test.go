package flow_test

import (
	"context"
	"errors"
	"testing"

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

// TestGivenUpTriesLeaveNoTrace gives up tries of random events before each of their rows and after each of their
// tables.
func TestGivenUpTriesLeaveNoTrace(t *testing.T) {
	places := 0
	for seed := range uint64(12) {
		m := newMaze()
		for events := randomEvents(seed, 120); len(events) > 0; events = events[2:] {
			m.write(&m.model, events[0], events[1])
		}
		m.engine.Commit()
		before := flow.Dump(m.engine)
		for patience := 0; ; patience++ {
			model, looked := [3]map[string]int{{}, {}, {}}, false
			err := m.engine.Try(&impatient{context.Background(), patience}, func() {
				for events := randomEvents(seed+100, 40); len(events) > 0; events = events[2:] {
					m.write(&model, events[0], events[1])
				}
			}, func(*flow.Changes) { looked = true })
			if diff := cmp.Diff(before, flow.Dump(m.engine)); diff != "" {
				t.Fatalf("seed %d, given up after %d: a trace is left (-before +after):\n%s", seed, patience, diff)
			}
			if wrong := flow.Verify(m.engine); wrong != "" {
				t.Fatalf("seed %d, given up after %d:\n%s", seed, patience, wrong)
			}
			if err == nil && looked {
				break
			}
			if looked || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("seed %d, given up after %d: error %v, looked %v", seed, patience, err, looked)
			}
			places++
		}
	}
	if places < 100 {
		t.Errorf("there were only %d places to give up at", places)
	}
}
