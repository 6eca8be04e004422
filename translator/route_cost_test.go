package translator

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/crdtest"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/heavy"
)

// What one trial may cost.
const (
	maxTrialTime   = 2 * time.Second
	maxTrialMemory = 512 << 20
)

// spent is the time of the processor and the memory that something takes. All that is allocated counts, even if it is
// given back at once.
func spent(do func()) (took time.Duration, allocated uint64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := processorTime()
	do()
	took = processorTime() - start
	runtime.ReadMemStats(&after)
	return took, after.TotalAlloc - before.TotalAlloc
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// peakHeap is the most memory of the heap that is in use while something is done, in bytes: what lives and what waits
// to be collected.
func peakHeap(do func()) (peak uint64) {
	done, measured := make(chan struct{}), make(chan uint64)
	go func() {
		var now runtime.MemStats
		for most := uint64(0); ; {
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse)
			select {
			case <-done:
				measured <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	do()
	close(done)
	return <-measured
}

// heavyWorld has a Gateway with listeners and a light route.
func heavyWorld(tb testing.TB, listeners int) *World {
	tb.Helper()
	w := newWorld(tb)
	class, gateway, service, light := heavy.Around(controllerName, listeners)
	secret, authority, err := heavy.Credentials()
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Apply([]Event{
		{Object: class},
		{Object: gateway},
		{Object: service},
		{Object: light},
		{Object: secret},
		{Object: authority},
	}); err != nil {
		tb.Fatal(err)
	}
	return w
}

// tryAll tries objects one after the other, as they are created, and stores them. Each must stay within bounds.
func tryAll[T Object](t *testing.T, w *World, objects []T) (findings []Finding) {
	t.Helper()
	for _, o := range objects {
		took, allocated := spent(func() {
			found, err := w.Try(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			findings = append(findings, found...)
		})
		if took > maxTrialTime || allocated > maxTrialMemory {
			t.Errorf("a trial of %T takes %s and %d MiB", o, took, allocated>>20)
		}
		took, allocated = spent(func() { apply(t, w, o) })
		if took > maxTrialTime || allocated > maxTrialMemory {
			t.Errorf("storing %T takes %s and %d MiB", o, took, allocated>>20)
		}
	}
	return findings
}

// longNames gives a match headers with names as long as they may be.
func longNames(_ int, m *gwapiv1.HTTPRouteMatch) {
	for i := range 16 {
		m.Headers = append(m.Headers, gwapiv1.HTTPHeaderMatch{Name: gwapiv1.HTTPHeaderName(fmt.Sprintf("x-%d-%s", i,
			strings.Repeat("n", 240))), Value: "v"})
	}
}

// worst are the most costly objects of each sort that the API server takes.
func worst() map[string]heavy.Content {
	repeated := `(?:` + strings.Repeat("a", 3000) + `){1000}`
	return map[string]heavy.Content{
		"repeated expressions": {Rules: 1, Matches: 64, Hosts: 1, Match: func(_ int,
			m *gwapiv1.HTTPRouteMatch,
		) {
			heavy.Expressions(m, 4, repeated, "")
		}},
		"expressions that are slow to read": {
			Rules: 2, Matches: 64, Hosts: 16,
			Match: func(_ int, m *gwapiv1.HTTPRouteMatch) {
				heavy.Expressions(m, 16, "(?i)"+strings.Repeat(`[B-\x{1e943}]`, 20), `(?i)[B-\x{1e943}]`)
			},
		},
		"short expressions of large programs": {
			Rules: 1, Matches: 8, Hosts: 4,
			Match: func(_ int, m *gwapiv1.HTTPRouteMatch) {
				heavy.Expressions(m, 16, "(?:"+strings.Repeat("abcdefghij", 10)+"){70}", "")
			},
		},
		"headers of backends": {Rules: 1, Matches: 64, Hosts: 16, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
			r.Filters, r.BackendRefs = []gwapiv1.HTTPRouteFilter{heavy.Headers(16, 4000)}, heavy.Backends(4)
			for i := range r.BackendRefs {
				r.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{heavy.Headers(16, 4000)}
			}
		}},
		"codes of retries": {Rules: 2, Matches: 64, Hosts: 16, Rule: func(_ int,
			r *gwapiv1.HTTPRouteRule,
		) {
			r.Retry = heavy.Retry()
		}},
		"hosts of backends": {Rules: 2, Matches: 64, Hosts: 16, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
			r.BackendRefs = heavy.Backends(16)
			for i := range r.BackendRefs {
				r.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{heavy.Host(strings.Repeat("long.", 40) + "example.com")}
			}
		}},
		"redirects by hand": {Rules: 2, Matches: 64, Hosts: 16, Wild: true, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
			r.Filters, r.BackendRefs = []gwapiv1.HTTPRouteFilter{heavy.Redirect(gwapiv1.FullPathHTTPPathModifier,
				"/"+strings.Repeat("a", 1000))}, nil
		}},
		"client ranges":        {Rules: 1, Matches: 64, Hosts: 8, Policy: heavy.Ranges(1, 5000)},
		"rules of a policy":    {Rules: 16, Matches: 8, Hosts: 16, Policy: heavy.Ranges(64, 1000)},
		"patterns of origins":  {Rules: 16, Matches: 8, Hosts: 16, Policy: heavy.Origins(1000)},
		"matches on all hosts": {Rules: 16, Matches: 8, Hosts: 16},
		"names in preflights": {
			Rules: 2, Matches: 64, Hosts: 16, Match: longNames,
			Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
				r.Filters = []gwapiv1.HTTPRouteFilter{heavy.CORS()}
			},
		},
		"escapes in paths": {Rules: 16, Matches: 8, Hosts: 16, Match: func(i int, m *gwapiv1.HTTPRouteMatch) {
			m.Path.Value = new(fmt.Sprintf("/%d%s", i, strings.Repeat("/%C3%BC%C3%BC", 70)))
		}},
		"prefixes to replace": {Rules: 2, Matches: 64, Hosts: 16, Match: func(_ int, m *gwapiv1.HTTPRouteMatch) {
			m.Path.Value = new("/" + strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789", 28))
		}, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
			r.Filters = []gwapiv1.HTTPRouteFilter{{
				Type: gwapiv1.HTTPRouteFilterURLRewrite,
				URLRewrite: &gwapiv1.HTTPURLRewriteFilter{
					Path: &gwapiv1.HTTPPathModifier{Type: gwapiv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: new("/")},
				},
			}}
		}},
	}
}

// TestWorstObjectsCostLittle: trying and storing the most costly objects takes little, on a Gateway with as many
// listeners as it may have.
func TestWorstObjectsCostLittle(t *testing.T) {
	// On one listener.
	fits := map[string]bool{"matches on all hosts": true, "redirects by hand": true, "codes of retries": true}
	for name, content := range worst() {
		t.Run(name, func(t *testing.T) {
			s := heavy.Make(content)
			if !s.Stored() {
				t.Fatal("the API server would not take it")
			}
			for _, listeners := range []int{1, heavy.Listeners} {
				findings := tryAll(t, heavyWorld(t, listeners), s.Objects())
				if len(findings) == 0 && (listeners > 1 || !fits[name]) {
					t.Errorf("with %d listeners: nothing is found", listeners)
				}
				for _, f := range findings {
					if len(f.Problem.Message) > 800 {
						t.Errorf("%d bytes: %s", len(f.Problem.Message), f.Problem.Message)
					}
				}
			}
		})
	}
}

// TestOthersAreServedBesideTheWorst: a control plane that starts with the worst of all sorts stored serves others, in
// little time and memory.
func TestOthersAreServedBesideTheWorst(t *testing.T) {
	class, gateway, service, light := heavy.Around(controllerName, heavy.Listeners)
	events := []Event{{Object: class}, {Object: gateway}, {Object: service}, {Object: light}}
	for name, content := range worst() {
		s := heavy.Make(content)
		s.Route.Name, s.Route.UID = strings.ReplaceAll(name, " ", "-"), s.Route.UID+"1"
		events = append(events, Event{Object: s.Route})
		if s.Policy != nil {
			s.Policy.Name, s.Policy.Spec.TargetRefs[0].Name = s.Route.Name, gwapiv1.ObjectName(s.Route.Name)
			events = append(events, Event{Object: s.Policy})
		}
	}
	w := newWorld(t)
	var outcome Outcome
	var err error
	var peak uint64
	took, _ := spent(func() {
		peak = peakHeap(func() { outcome, err = w.Apply(events) })
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s of the processor, %d MiB of the heap", took, peak>>20)
	if took > 10*time.Second || peak > 512<<20 {
		t.Errorf("it took %s of the processor and %d MiB of the heap", took, peak>>20)
	}
	served := 0
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			if r.Type == typeRoutes && strings.Contains(string(r.Body()),
				"httproute/shop/light/rule/0/match/-1/light_example_com") {
				served++
			}
		}
	}
	if served != heavy.Listeners {
		t.Errorf("%d of %d listeners serve the light route", served, heavy.Listeners)
	}
}

// TestRouteMemory: a rule that does not fit into what is left of the route's memory fails closed and says so; others of
// the route are served, and with a larger limit all are.
func TestRouteMemory(t *testing.T) {
	s := heavy.Make(heavy.Content{Rules: 3, Matches: 2, Hosts: 2, Rule: func(i int, r *gwapiv1.HTTPRouteRule) {
		if i == 1 {
			r.Filters = []gwapiv1.HTTPRouteFilter{heavy.Headers(16, 1000)}
		}
	}})
	for _, c := range []struct {
		limit     int64
		listeners int
		want      int
		weight    verdict.Weight
	}{
		{0, 2, 0, 0},
		{40 << 10, 1, 2, verdict.Invalid},   // One by itself, and one since the first has taken what it needs.
		{1 << 20, 8, 1, verdict.Unresolved}, // On one listener it would fit.
		{32 << 10, 1, 2, verdict.Invalid},
	} {
		w := heavyWorld(t, c.listeners)
		w.tables.settings.RouteMemory = c.limit
		findings, err := w.Try(t.Context(), s.Route)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if !strings.Contains(f.Problem.Message, "of each Envoy") || f.Problem.Weight != c.weight {
				t.Errorf("with limit %d and %d listeners, want %v: %+v", c.limit, c.listeners, c.weight, f.Problem)
			}
		}
		if len(findings) != c.want {
			t.Errorf("with limit %d and %d listeners: %d findings, want %d", c.limit, c.listeners, len(findings), c.want)
		}
	}
}

// TestFiltersOnManyHosts: however many hosts a route has, and however heavy the filters of its listeners are, it takes
// no more than it may. Hosts without room for the filters are closed, and not served without them.
func TestFiltersOnManyHosts(t *testing.T) {
	for _, c := range []struct {
		listeners, names, length int
		onGateway, onRoute       string
		served                   bool
	}{
		{1, 64, 20, "", "", true},
		{8, 64, 20, "", "0 KiB are left behind the filters of listener", false},
		{2, 64, 350, "1/32 of what a route may, so the listener answers 500", "", false},
	} {
		t.Run(fmt.Sprintf("%d listeners, %d bytes", c.listeners, c.length), func(t *testing.T) {
			w := heavyWorld(t, c.listeners)
			_, gateway, _, _ := heavy.Around(controllerName, c.listeners)
			heavy.Filtered(gateway, c.names, c.length)
			route := heavy.Make(heavy.Content{Rules: 1, Hosts: heavy.Hosts}).Route
			wantFinding(t, tryAll(t, w, []Object{gateway}), verdict.Invalid, c.onGateway)
			before := routeBytes(w)
			wantFinding(t, tryAll(t, w, []Object{route}), verdict.Unresolved, c.onRoute)
			if grown := routeBytes(w) - before; grown*feature.PerEncoded > DefaultRouteMemory {
				t.Errorf("the route adds %d KiB to what Envoy gets", grown>>10)
			}
			for _, row := range w.tables.virtualHosts.All(w.engine.Read()) {
				if !strings.HasPrefix(row.Value.Host, "h") {
					continue
				}
				passed, closed := bytes.Contains(row.Value.Body, []byte(slotFilter)),
					!bytes.Contains(row.Value.Body, []byte("httproute/shop/heavy"))
				if passed != c.served || closed == c.served {
					t.Fatalf("%s: has the filters %t, is closed %t, want served: %t", row.Key, passed, closed, c.served)
				}
			}
		})
	}
}

// wantFinding compares the only finding with part of a message, or wants none.
func wantFinding(t *testing.T, findings []Finding, weight verdict.Weight, part string) {
	t.Helper()
	for _, f := range findings {
		if part == "" || !strings.Contains(f.Problem.Message, part) || f.Problem.Weight != weight {
			t.Errorf("got %+v, want %q", f.Problem, part)
		}
	}
	if part != "" && len(findings) == 0 {
		t.Errorf("nothing is found, want %q", part)
	}
}

// routeBytes is the length of all encoded virtual hosts.
func routeBytes(w *World) (n int) {
	for _, row := range w.tables.virtualHosts.All(w.engine.Read()) {
		n += len(row.Value.Body)
	}
	return n
}

// TestListenersShareRoutes: an encoded route is held once, however many hosts it has and listeners its parentRef
// selects.
func TestListenersShareRoutes(t *testing.T) {
	w := heavyWorld(t, 8)
	apply(t, w, heavy.Make(heavy.Content{Rules: 2, Matches: 4, Hosts: 4}).Route)
	held, entries := map[*byte]bool{}, 0
	for _, row := range w.tables.bindings.All(w.engine.Read()) {
		for _, host := range row.Value.Hosts {
			for _, route := range host.Routes {
				held[&route.Rest[0]], entries = true, entries+1
			}
		}
	}
	if len(held) != 2*4+1 || entries != 8*(2*4*4+1) {
		t.Errorf("%d routes are held for %d of virtual hosts", len(held), entries)
	}
}

// FuzzCost holds that no object within the API server's limits takes more than a trial may, be it refused or not.
func FuzzCost(f *testing.F) {
	for seed := range uint64(12) {
		f.Add(seed, uint8(seed*13))
	}
	f.Fuzz(func(t *testing.T, seed uint64, listeners uint8) {
		r, w := rand.New(rand.NewPCG(seed, 3)), heavyWorld(t, 1+int(listeners)%heavy.Listeners)
		if seed%3 == 0 {
			tryAll(t, w, heavy.Random(r).Objects())
			return
		}
		objects, err := crdtest.Costly(r, types.NamespacedName{Namespace: heavy.Namespace, Name: heavy.Gateway}, heavy.Words,
			heavy.Texts)
		if err != nil {
			t.Fatal(err)
		}
		tryAll(t, w, objects)
	})
}
