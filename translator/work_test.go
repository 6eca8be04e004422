package translator

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// computed counts the rows of each table that the last batch computed.
func computed(w *World) map[string]int {
	work := map[string]int{}
	for _, s := range w.engine.Stats() {
		if s.Computed > 0 {
			work[s.Name] = s.Computed
		}
	}
	return work
}

// gatewayPolicy is a policy on the Gateway of benchWorld.
func gatewayPolicy(generation int64) *v1alpha1.BackendTrafficPolicy {
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: "p", UID: "p",
		Generation: generation,
	}}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Group, target.Kind, target.Name = gwapiv1.GroupName, "Gateway", "g"
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	p.Spec.Timeout = &v1alpha1.Timeout{HTTP: &v1alpha1.HTTPTimeout{RequestTimeout: ptr(gwapiv1.Duration(fmt.Sprintf("%ds",
		generation)))}}
	return p
}

// benchSecret is the certificate of listener https of benchWorld, one of two in turn.
func benchSecret(i int) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "tls", UID: "tls"},
		Type:       corev1.SecretTypeTLS, Data: pairs[i%2],
	}
}

// TestTryDoesNotGrowWithTheTables: a change of one route is tried with the same memory whether a hundred routes are on the
// Gateway or two thousand, also after many of them have changed.
func TestTryDoesNotGrowWithTheTables(t *testing.T) {
	const tries = 100
	used := func(routes int) uint64 {
		w := benchWorld(t, routes)
		for i := range 30 {
			apply(t, w, benchRoute(i, 2))
		}
		try := func(generation int64) {
			if _, err := w.Try(t.Context(), benchRoute(7, generation)); err != nil {
				t.Fatal(err)
			}
		}
		try(3)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range int64(tries) {
			try(4 + i)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / tries
	}
	if few, many := used(100), used(2000); many > 2*few {
		t.Errorf("a Try takes %d bytes with 100 routes, and %d with 2000", few, many)
	}
}

// TestWorkDoesNotGrowWithTheTables: what is computed for one object is the same with a hundred routes and with a
// thousand, but for a policy on the Gateway, which is about every route. An EndpointSlice touches one load assignment
// and nothing else as long as an endpoint is left.
func TestWorkDoesNotGrowWithTheTables(t *testing.T) {
	small, large := benchWorld(t, 100), benchWorld(t, 1000)
	for name, c := range map[string]struct {
		event Event
		want  map[string]int // Nil: what the small world does is right.
	}{
		"EndpointSlice": {Event{Object: benchSlice(7, 9)}, map[string]int{"endpoints": 1, "backends with endpoints": 1}},
		"Secret":        {Event{Object: benchSecret(1)}, nil},
		"route":         {Event{Object: benchRoute(7, 2)}, nil},
		"new route":     {Event{Object: benchRoute(5000, 1)}, nil},
		"Service":       {Event{Object: benchService(8, 8081)}, nil}, // Not that of the EndpointSlice: the order is any.
	} {
		t.Run(name, func(t *testing.T) {
			for _, w := range []*World{small, large} {
				outcome, err := w.Apply([]Event{c.event})
				if err != nil || len(outcome.Deltas) == 0 {
					t.Fatalf("nothing changed: %v", err)
				}
			}
			few, many := computed(small), computed(large)
			if c.want == nil {
				c.want = few
			}
			if name == "Service" { // Each Service has more routes in the larger world.
				few, many = tables(few), tables(many)
				c.want = few
			}
			if diff := cmp.Diff(c.want, many); diff != "" || len(many) == 0 {
				t.Errorf("rows computed by table (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRotationTouchesItsSecretOnly: a certificate that is renewed is one secret for Envoy. The listener that it is for,
// the others of its port, and what they wait for stay as they are.
func TestRotationTouchesItsSecretOnly(t *testing.T) {
	w := setsWorld(t, 20)
	apply(t, w, ownSecret(7, 1))
	want := map[string]int{
		"certificates": 1, "untimely certificates": 1, "ending certificates": 1,
		"judged listeners": 1, "secrets": 1, "names of secrets": 1,
	}
	if diff := cmp.Diff(want, computed(w)); diff != "" {
		t.Errorf("rows computed by table (-want +got):\n%s", diff)
	}
}

// TestLastEndpointTouchesStatusesOfItsRoutes: what a Service's last endpoint changes by going, and its first by coming,
// is the status of the routes to it, however many others there are.
func TestLastEndpointTouchesStatusesOfItsRoutes(t *testing.T) {
	w := benchWorld(t, 1000) // Two of them are routes to one Service.
	none := benchSlice(7, 1)
	none.Endpoints = nil
	want := map[string]int{"endpoints": 1, "backends with endpoints": 1, "route statuses": 2}
	for _, slice := range []*discoveryv1.EndpointSlice{none, benchSlice(7, 1)} {
		outcome, err := w.Apply([]Event{{Object: slice}})
		if err != nil || len(outcome.Statuses) != 2 {
			t.Errorf("%d statuses to write: %v", len(outcome.Statuses), err)
		}
		if diff := cmp.Diff(want, computed(w)); diff != "" {
			t.Errorf("rows computed by table (-want +got):\n%s", diff)
		}
	}
}

// TestOverlapTouchesTwoRoutes: of hundreds of routes that all match the same requests, a change concerns the route
// itself and the first of them.
func TestOverlapTouchesTwoRoutes(t *testing.T) {
	w := benchWorld(t, 10)
	same := func(i int, generation int64) *gwapiv1.HTTPRoute {
		r := benchRoute(1000+i, generation)
		r.Spec.Hostnames = []gwapiv1.Hostname{"same.example.com"}
		return r
	}
	var all []Event
	for i := range 300 {
		all = append(all, Event{Object: same(i, 1)})
	}
	if _, err := w.Apply(all); err != nil {
		t.Fatal(err)
	}
	for name, event := range map[string]Event{
		"changed": {Object: same(150, 2)}, "new": {Object: same(500, 1)},
		"last": {Object: same(299, 1), Deleted: true},
	} {
		if _, err := w.Apply([]Event{event}); err != nil {
			t.Fatal(err)
		}
		if statuses := computed(w)["route statuses"]; statuses > 2 {
			t.Errorf("%s: %d statuses computed", name, statuses)
		}
	}
}

// tables forgets how much was computed.
func tables(work map[string]int) map[string]int {
	for name := range work {
		work[name] = 1
	}
	return work
}

// TestNothingIsLeftOfRoutes: routes that came and went leave no rows, readers, keys or entries behind, and neither does
// what was only tried.
func TestNothingIsLeftOfRoutes(t *testing.T) {
	w := benchWorld(t, 100)
	before := held(w)
	var come, gone []Event
	for i := range 1000 {
		r := benchRoute(1000+i, 1)
		come, gone = append(come, Event{Object: r}), append(gone, Event{Object: r, Deleted: true})
	}
	for _, events := range [][]Event{
		come,
		{{Object: gatewayPolicy(1)}},
		{{Object: gatewayPolicy(1), Deleted: true}},
		gone,
	} {
		if _, err := w.Apply(events); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if _, err := w.Try(t.Context(), benchRoute(3000+i, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff(before, held(w)); diff != "" {
		t.Errorf("what the tables hold (-before +after):\n%s", diff)
	}
}

// TestHistoriesReachEveryTable: the random histories that the tables are checked with leave no table without rows.
func TestHistoriesReachEveryTable(t *testing.T) {
	most := map[string]int{}
	reached := func() bool {
		return len(most) > 0 && !slices.Contains(slices.Collect(maps.Values(most)), 0)
	}
	for seed := uint64(0); seed < 1000 && !reached(); seed++ {
		h := newHistory(seed)
		w := h.world(t)
		w.tables.needs = testNeeds
		events := h.opening()
		for range 40 {
			h.pass()
			outcome, err := w.Apply(append(events, h.event()))
			if err != nil {
				t.Fatal(err)
			}
			h.sent(outcome)
			events = nil
			for _, s := range w.engine.Stats() {
				most[s.Name] = max(most[s.Name], s.Rows)
			}
		}
	}
	t.Logf("most rows by table: %v", most)
	for name, rows := range most {
		if rows == 0 {
			t.Errorf("no history gave table %q a row", name)
		}
	}
}

// TestRouteOfLayer4TouchesItsListenerOnly: what a TCPRoute changes is the one listener that it is attached to, and the
// cluster that it brings.
func TestRouteOfLayer4TouchesItsListenerOnly(t *testing.T) {
	w := benchWorld(t, 10)
	gateway := benchEvents(0)[1].Object.(*gwapiv1.Gateway)
	gateway.Generation++
	for i := range 3 {
		gateway.Spec.Listeners = append(gateway.Spec.Listeners, gwapiv1.Listener{
			Name: gwapiv1.SectionName(fmt.Sprintf("tcp-%d", i)), Protocol: gwapiv1.TCPProtocolType, Port: int32(9000 + i),
		})
	}
	route := func(generation int64, service string) *gwapiv1.TCPRoute {
		r := &gwapiv1.TCPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r", UID: "r", Generation: generation}}
		r.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "g", SectionName: ptr(gwapiv1.SectionName("tcp-1"))}}
		ref := gwapiv1.BackendRef{}
		ref.Name, ref.Port = gwapiv1.ObjectName(service), ptr[int32](80)
		r.Spec.Rules = []gwapiv1.TCPRouteRule{{BackendRefs: []gwapiv1.BackendRef{ref}}}
		return r
	}
	if _, err := w.Apply([]Event{{Object: gateway}, {Object: route(1, "s1")}}); err != nil {
		t.Fatal(err)
	}
	outcome, err := w.Apply([]Event{{Object: route(2, "s450")}})
	if err != nil {
		t.Fatal(err)
	}
	var changed []Name
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			changed = append(changed, Name{r.Type, r.Name})
		}
	}
	slices.SortFunc(changed, compareNames)
	want := []Name{{typeCluster, "service/n/s450/80"}, {typeEndpoints, "service/n/s450/80"}, {typeListener, "n/g/tcp-1"}}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("what Envoy gets (-want +got):\n%s", diff)
	}
}
