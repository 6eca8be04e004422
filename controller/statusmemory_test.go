package controller

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/translator"
)

// TestDeletedObjectsAreForgotten: names that are used once cost no memory, neither of the replica that writes nor of one that only
// remembers, and what still waits in the queue does no harm.
func TestDeletedObjectsAreForgotten(t *testing.T) {
	d := newDesk(t, time.Millisecond, time.Millisecond, 0)
	var last statusKey
	for i := range 20 {
		route := d.route(fmt.Sprintf("r%d", i))
		last = keyOf(route)
		d.store(t, route)
		if i%2 == 0 { // Of the others some are deleted before they are written.
			becomes(t, func() error {
				d.get(t, route.Name, route)
				if len(route.Status.Parents) == 0 {
					return fmt.Errorf("%s has no status", route.Name)
				}
				return nil
			})
		}
		if err := d.Delete(t.Context(), route); err != nil {
			t.Fatal(err)
		}
		d.apply(t, translator.Event{Object: route, Deleted: true})
	}
	kinds := func(w *StatusWriter) map[string]int {
		w.mu.Lock()
		defer w.mu.Unlock()
		kinds := map[string]int{}
		for key := range w.entries {
			kinds[key.kind.Elem().Name()]++
		}
		return kinds
	}
	for who, w := range map[string]*StatusWriter{"the leader": d.writer, "a follower": d.follower} {
		if diff := cmp.Diff(map[string]int{"GatewayClass": 1, "Gateway": 1}, kinds(w)); diff != "" {
			t.Errorf("what %s remembers (-want +got):\n%s", who, diff)
		}
	}
	d.writer.queue.AddRateLimited(last)
	becomes(t, func() error {
		if n := d.writer.queue.NumRequeues(last); n != 0 {
			return fmt.Errorf("%d failures of %s are remembered", n, last.name)
		}
		return nil
	})
}
