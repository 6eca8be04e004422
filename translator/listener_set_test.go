package translator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// benchSet is a ListenerSet with a listener of its own host for each generation up to the given one.
func benchSet(i int, generation int64) *gwapiv1.ListenerSet {
	name := fmt.Sprintf("ls%d", i)
	s := &gwapiv1.ListenerSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID(name),
		Generation: generation, CreationTimestamp: metav1.Unix(int64(i), 0),
	}}
	s.Spec.ParentRef.Name = "g"
	for g := range generation {
		s.Spec.Listeners = append(s.Spec.Listeners, gwapiv1.ListenerEntry{
			Name: gwapiv1.SectionName(fmt.Sprintf("l%d", g)), Protocol: gwapiv1.HTTPProtocolType, Port: 80,
			Hostname: ptr(gwapiv1.Hostname(fmt.Sprintf("h%d.%s.example.org", g, name))),
		})
	}
	return s
}

// setRoute is a route of a ListenerSet.
func setRoute(i int) *gwapiv1.HTTPRoute {
	r := benchRoute(i, 1)
	r.Spec.ParentRefs, r.Spec.Hostnames = []gwapiv1.ParentReference{{
		Name: gwapiv1.ObjectName(fmt.Sprintf("ls%d", i)),
		Kind: ptr(gwapiv1.Kind("ListenerSet")),
	}}, nil
	return r
}

// setWorld is a Gateway with n ListenerSets, each with a route.
func setWorld(t testing.TB, n int) *World {
	t.Helper()
	events := benchEvents(0)
	gw := events[1].Object.(*gwapiv1.Gateway)
	gw.Spec.AllowedListeners = &gwapiv1.AllowedListeners{Namespaces: &gwapiv1.ListenerNamespaces{From: ptr(gwapiv1.NamespacesFromSame)}}
	for i := range n {
		events = append(events, Event{Object: benchSet(i, 1)}, Event{Object: setRoute(i)})
	}
	w := newWorld(t)
	if _, err := w.Apply(events); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestWorkDoesNotGrowWithListenerSets: what is computed for one ListenerSet is the same beside fifty others and beside
// five hundred.
func TestWorkDoesNotGrowWithListenerSets(t *testing.T) {
	small, large := setWorld(t, 50), setWorld(t, 500) // As many as there are Services, so that none is shared.
	for _, c := range []struct {
		name  string
		event Event
	}{
		{"a changed one", Event{Object: benchSet(7, 2)}},
		{"a new one", Event{Object: benchSet(5000, 1)}},
		{"a route of one", Event{Object: setRoute(5000)}},
		{"one that goes", Event{Object: benchSet(7, 2), Deleted: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, w := range []*World{small, large} {
				outcome, err := w.Apply([]Event{c.event})
				if err != nil || len(outcome.Deltas) == 0 {
					t.Fatalf("nothing changed: %v", err)
				}
			}
			few, many := computed(small), computed(large)
			if diff := cmp.Diff(few, many); diff != "" || len(many) == 0 {
				t.Errorf("rows computed by table (-few +many):\n%s", diff)
			}
		})
	}
}

// TestMoreListenersThanAGatewayHolds: ListenerSets take a port past the 64 listeners of a Gateway, and each host is
// served.
func TestMoreListenersThanAGatewayHolds(t *testing.T) {
	w := setWorld(t, 0)
	outcome, err := w.Apply([]Event{
		{Object: benchSet(1, 64)},
		{Object: benchSet(2, 64)},
		{Object: setRoute(1)},
		{Object: setRoute(2)},
	})
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]bool{}
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			for _, p := range r.Parts() {
				if r.Type == typeRoutes {
					hosts[p.Name[strings.LastIndex(p.Name, "/")+1:]] = true
				}
			}
		}
	}
	if len(hosts) != 128 {
		t.Errorf("%d hosts have routes, want 128", len(hosts))
	}
}

// TestConflictIsDecidedAlike: in whatever order two ListenerSets come, the same one has the host in the end; and when
// the winner goes, the other one has it.
func TestConflictIsDecidedAlike(t *testing.T) {
	older, younger := benchSet(1, 1), benchSet(2, 1)
	younger.Spec.Listeners[0].Hostname = older.Spec.Listeners[0].Hostname
	for _, order := range [][]Event{{{Object: older}, {Object: younger}}, {{Object: younger}, {Object: older}}} {
		w := setWorld(t, 0)
		for _, e := range order {
			if _, err := w.Apply([]Event{e}); err != nil {
				t.Fatal(err)
			}
		}
		served := func(key string) bool {
			l, ok := w.tables.listeners.Get(w.engine.Read(), key)
			return ok && l.Serves
		}
		if !served("n/g/n/ls1/l0") || served("n/g/n/ls2/l0") {
			t.Error("the younger ListenerSet has the host")
		}
		if _, err := w.Apply([]Event{{Object: older, Deleted: true}}); err != nil {
			t.Fatal(err)
		}
		if !served("n/g/n/ls2/l0") {
			t.Error("nobody has the host of a ListenerSet that is gone")
		}
	}
}

// TestRefusedListenerOfASetIsWithheld: a Gateway and its ListenerSet may have listeners of one name; what Envoy rejects
// of one hurts the other not.
func TestRejectedListenerOfASetIsWithheld(t *testing.T) {
	q := newQuarantined(t, 1)
	gw := benchEvents(0)[1].Object.(*gwapiv1.Gateway)
	gw.Generation++
	gw.Spec.AllowedListeners = &gwapiv1.AllowedListeners{Namespaces: &gwapiv1.ListenerNamespaces{From: ptr(gwapiv1.NamespacesFromSame)}}
	set := benchSet(1, 1)
	l := &set.Spec.Listeners[0]
	l.Name, l.Protocol, l.Port, l.TLS = "https", gwapiv1.HTTPSProtocolType, 443, gw.Spec.Listeners[1].TLS
	q.take(Event{Object: gw}, Event{Object: set})
	for _, p := range q.latest[Name{typeListener, "n/g/https"}].Parts() {
		if p.Name == "n/g/n/ls1/https" {
			q.refuse(p.Hash)
		}
	}
	q.wantProblem("n/ls1", "spec.listeners[0]")
	if parts := q.latest[Name{typeListener, "n/g/https"}].Parts(); len(parts) != 1 || parts[0].Name != "n/g/https" {
		t.Errorf("the port serves %v", parts)
	}
	if problems := q.status["n/g"].Problems; len(problems) > 0 {
		t.Errorf("the Gateway says %v", problems)
	}
}
