package translator

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator/hostname"
)

// scopedWorld is benchWorld with scoped routes.
func scopedWorld(t *testing.T, n int) *World {
	t.Helper()
	w := benchWorld(t, n)
	g, ok := w.tables.in.gateways.Get(w.engine.Read(), "n/g")
	if !ok {
		t.Fatal("benchWorld has no Gateway n/g")
	}
	g = g.DeepCopy()
	g.Annotations = map[string]string{ScopedRoutesAnnotation: "true"}
	if _, err := w.Apply([]Event{{Object: g}}); err != nil {
		t.Fatal(err)
	}
	return w
}

// sent lists what a batch has Envoy get and lose.
func sent(t *testing.T, w *World, e Event) []string {
	t.Helper()
	outcome, err := w.Apply([]Event{e})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			names = append(names, "+"+r.Name)
		}
		for _, n := range d.Removed {
			names = append(names, "-"+n.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestScopedWorkDoesNotGrow: a host that comes, changes and goes is one scope to Envoy, and the same work with a
// hundred hosts and with a thousand.
func TestScopedWorkDoesNotGrow(t *testing.T) {
	small, large := scopedWorld(t, 100), scopedWorld(t, 1000)
	const host = "n/g/http/r5000.example.com"
	for _, step := range []struct {
		name  string
		event Event
		want  string
	}{
		{"comes", Event{Object: benchRoute(5000, 1)}, "+" + host},
		{"changes", Event{Object: benchRoute(5000, 2)}, "+" + host},
		{"goes", Event{Object: benchRoute(5000, 2), Deleted: true}, "-" + host},
	} {
		for _, w := range []*World{small, large} {
			if diff := cmp.Diff([]string{step.want}, sent(t, w, step.event)); diff != "" {
				t.Errorf("a host %s: resources (-want +got):\n%s", step.name, diff)
			}
		}
		few, many := computed(small), computed(large)
		if diff := cmp.Diff(few, many); diff != "" || len(few) == 0 {
			t.Errorf("a host %s: rows computed by table with 100 hosts and with 1,000 (-want +got):\n%s", step.name, diff)
		}
	}
}

// TestScopesAreAcknowledged: a listener with scoped routes is programmed once a proxy has acknowledged scopes, not
// before.
func TestScopesAreAcknowledged(t *testing.T) {
	w := scopedWorld(t, 2)
	r := w.engine.Read()
	proxy := Proxy{Fleet: "n/g", Node: "x", Listeners: map[string]string{}, Secrets: map[string]bool{"n/tls": true}}
	for _, l := range w.tables.portListenersByFleet.Lookup(r, "n/g") {
		proxy.Listeners[l.Value.Name] = l.Value.Version
		for _, n := range l.Value.Needs {
			if n.Type == typeSecret {
				proxy.Secrets[n.Name] = true
			}
		}
	}
	missing := w.tables.lacks(r, "n/g", proxy)
	want := map[Name]string{{typeScopes, "n/g/http"}: "", {typeScopes, "n/g/https"}: ""}
	if diff := cmp.Diff(want, missing); diff != "" {
		t.Errorf("a proxy without scopes lacks (-want +got):\n%s", diff)
	}
	proxy.Scopes = true
	if missing := w.tables.lacks(r, "n/g", proxy); len(missing) > 0 {
		t.Errorf("a proxy with scopes lacks %v, want nothing", slices.Collect(maps.Keys(missing)))
	}
}

// scopeOf is a scope of scopedWorld, and decoded a scope as Envoy reads it.
func scopeOf(t *testing.T, host string) *Resource {
	t.Helper()
	w := scopedWorld(t, 1)
	res, ok := w.tables.scopes.Get(w.engine.Read(), "n/g|TCP/10080|"+host)
	if !ok {
		t.Fatalf("there is no scope of %s", host)
	}
	return res
}

func decoded(t *testing.T, r *Resource) *routev3.ScopedRouteConfiguration {
	t.Helper()
	m, err := unmarshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return m.(*routev3.ScopedRouteConfiguration)
}

// TestScopeAgain: a scope that is sent again differs in the name of its route configuration and in nothing else.
func TestScopeAgain(t *testing.T) {
	res := scopeOf(t, "r0.example.com")
	want, got := decoded(t, res), decoded(t, res.Again("2"))
	want.RouteConfiguration.Name += "#2"
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || res.Again("2").Version != res.Version {
		t.Errorf("the scope again (-want +got):\n%s", diff)
	}
}

// TestPartsOfScopes: Envoy may refuse a route of a scope, as one of a route configuration.
func TestPartsOfScopes(t *testing.T) {
	res := scopeOf(t, "r0.example.com")
	for _, r := range []*Resource{res, res.Again("1")} {
		parts := r.Parts()
		if len(parts) != 1 || parts[0].Name != "httproute/n/r0/rule/0/match/0/r0_example_com" {
			t.Fatalf("the parts are %+v, want the one route", parts)
		}
		if trimmed := r.Trim(func(string) bool { return true }, nil); trimmed != r {
			t.Errorf("a scope of which all is kept has become %+v", decoded(t, trimmed))
		}
		got, want := decoded(t, r.Trim(func(string) bool { return false }, nil)), decoded(t, r)
		want.RouteConfiguration.VirtualHosts = nil
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("the scope without its route (-want +got):\n%s", diff)
		}
	}
}

func TestScopable(t *testing.T) {
	exact, wild := scopable(hostname.Intersect("*.example.com",
		[]gwapiv1.Hostname{"A.example.com", "*", "*.b.example.com", "example.com"}))
	if diff := cmp.Diff("[a.example.com] [*.example.com *.b.example.com]", fmt.Sprint(exact, " ", wild)); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}
