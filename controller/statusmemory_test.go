package controller

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
	"gatehouse/translator/status"
)

// lagging reads HTTPRoutes as they were when it was told to lag, as an informer's cache does for a while.
type lagging struct {
	client.Client

	mu    sync.Mutex
	route *gwapiv1.HTTPRoute
	reads int
}

func (l *lagging) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if route, ok := o.(*gwapiv1.HTTPRoute); ok && l.route != nil {
		l.reads++
		l.route.DeepCopyInto(route)
		return nil
	}
	return l.Client.Get(ctx, key, o, options...)
}

// show makes the route what is read, whatever is stored; nil ends that.
func (l *lagging) show(route *gwapiv1.HTTPRoute) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.route = route
}

func (l *lagging) read() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

// TestVerdictThatReturnsWhileTheCacheLags: a verdict changes and is written, and changes back before the cache has seen
// that write. The old status, which the cache still shows, is not mistaken for the stored one.
func TestVerdictThatReturnsWhileTheCacheLags(t *testing.T) {
	d := newDesk(t, time.Millisecond, time.Millisecond, 0)
	route := d.route("r")
	if err := d.Create(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	parent := gwapiv1.ParentReference{
		Group: new(gwapiv1.Group(gwapiv1.GroupName)), Kind: new(gwapiv1.Kind("Gateway")),
		Name: "gw",
	}
	say := func(accepted metav1.ConditionStatus) {
		d.writer.Set(&translator.Status{Object: route, Desired: &gwapiv1.RouteStatus{Parents: []gwapiv1.RouteParentStatus{{
			ParentRef: parent, ControllerName: controllerName,
			Conditions: []metav1.Condition{{Type: "Accepted", Status: accepted, Reason: "R"}},
		}}}})
	}
	is := func(want metav1.ConditionStatus, writes int) *gwapiv1.HTTPRoute {
		t.Helper()
		stored := &gwapiv1.HTTPRoute{}
		becomes(t, func() error {
			d.get(t, "r", stored)
			if len(stored.Status.Parents) != 1 || stored.Status.Parents[0].Conditions[0].Status != want ||
				d.writes(t, "HTTPRoute") != writes {
				return fmt.Errorf("after %d writes %v, want Accepted %s after %d", d.writes(t, "HTTPRoute"), stored.Status.Parents,
					want, writes)
			}
			return nil
		})
		return stored
	}
	say(metav1.ConditionTrue)
	d.cache.show(is(metav1.ConditionTrue, 1))
	say(metav1.ConditionFalse)
	is(metav1.ConditionFalse, 2)
	before := d.cache.read()
	say(metav1.ConditionTrue)
	becomes(t, func() error {
		if d.cache.read() == before {
			return fmt.Errorf("the writer has not looked")
		}
		return nil
	})
	d.cache.show(nil)
	is(metav1.ConditionTrue, 3)
}

// TestDeletedObjectsAreForgotten: names that are used once cost no memory, neither of the replica that writes nor of
// one that only remembers, and what still waits in the queue does no harm.
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

// TestNewLeaderIsPatient: until the other replicas have told a new leader of their proxies, no status reports whether
// Envoys lack something.
func TestNewLeaderIsPatient(t *testing.T) {
	w := NewStatusWriter(nil, controllerName, nil, logr.Discard())
	w.leading = time.Now()
	if left := w.patienceLeft(&entry{}, status.Waiting); left <= beat {
		t.Errorf("a new leader waits for %v, want longer than the %v between two reports of a replica", left, beat)
	}
	if left := w.patienceLeft(&entry{}, status.Verdicts); left > 0 {
		t.Errorf("a new leader keeps a verdict back for %v", left)
	}
	w.leading = time.Now().Add(-time.Hour)
	if left := w.patienceLeft(&entry{}, status.Waiting); left > w.patience {
		t.Errorf("an old leader waits for %v, want at most %v", left, w.patience)
	}
}
