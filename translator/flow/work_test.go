package flow_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/translator/flow"
)

// sample is a graph like the translator's: routes attach to gateways and name services, which have slices.
type sample struct {
	graph    *flow.Graph
	gateways *flow.Table[int]
	routes   *flow.Table[*fleetRoute]
	services *flow.Table[int]
	slices   *flow.Table[*fleetSlice]

	bindings  *flow.Table[*fleetBinding]
	vhosts    *flow.Table[string]
	listeners *flow.Table[int]
	clusters  *flow.Table[string]
	endpoints *flow.Table[string]
	e         *flow.Engine
}

type fleetRoute struct {
	gateway, host string
	services      []string
}

type fleetSlice struct {
	service   string
	addresses string
}

type fleetBinding struct{ gateway, host, route string }

func samePtr[V comparable](a, b *V) bool { return a == b || *a == *b }

func sameRoute(a, b *fleetRoute) bool {
	return a.gateway == b.gateway && a.host == b.host && slices.Equal(a.services, b.services)
}

func newSample() *sample {
	g := flow.NewGraph()
	f := &sample{graph: g}
	f.gateways = flow.Input(g, "gateways", flow.Same[int])
	f.services = flow.Input(g, "services", flow.Same[int])
	f.slices = flow.Input(g, "slices", samePtr[fleetSlice])
	f.routes = flow.Input(g, "routes", sameRoute)
	byService := flow.NewIndex(f.slices, "byService", func(_ string,
		s *fleetSlice,
	) []string {
		return []string{s.service}
	})
	used := flow.NewIndex(f.routes, "byService", func(_ string, r *fleetRoute) []string { return r.services })
	f.bindings = flow.Expand(f.routes, "bindings", samePtr[fleetBinding],
		func(r *flow.Read, key string, in *fleetRoute) []flow.Row[*fleetBinding] {
			if _, ok := f.gateways.Get(r, in.gateway); !ok {
				return nil
			}
			return []flow.Row[*fleetBinding]{{Key: in.gateway + "/" + key, Value: &fleetBinding{in.gateway, in.host, key}}}
		})
	byHost := flow.NewIndex(f.bindings, "byHost", func(_ string, b *fleetBinding) []string { return []string{b.host} })
	byGateway := flow.NewIndex(f.bindings, "byGateway", func(_ string,
		b *fleetBinding,
	) []string {
		return []string{b.gateway}
	})
	flow.NewIndex(f.bindings, "unread", func(string, *fleetBinding) []string { return []string{"all"} })
	f.vhosts = flow.Group(byHost, "vhosts", flow.Same[string],
		func(r *flow.Read, _ string, members []flow.Row[*fleetBinding]) (string, bool) {
			var b strings.Builder
			for _, m := range members {
				route, _ := f.routes.Get(r, m.Value.route)
				fmt.Fprintf(&b, "%s -> %s;", m.Value.route, strings.Join(route.services, ","))
			}
			return b.String(), true
		})
	f.listeners = flow.Derive(f.gateways, "listeners", flow.Same[int], func(r *flow.Read, key string, _ int) (int, bool) {
		return len(byGateway.Lookup(r, key)), true
	})
	f.clusters = flow.Group(used, "clusters", flow.Same[string],
		func(r *flow.Read, key string, _ []flow.Row[*fleetRoute]) (string, bool) {
			port, ok := f.services.Get(r, key)
			return fmt.Sprint(port), ok
		})
	f.endpoints = flow.Derive(f.clusters, "endpoints", flow.Same[string],
		func(r *flow.Read, key, _ string) (string, bool) {
			var b strings.Builder
			for _, s := range byService.Lookup(r, key) {
				b.WriteString(s.Value.addresses)
			}
			return b.String(), true
		})
	f.e = flow.NewEngine(g)
	return f
}

func (f *sample) fill(n int) *sample {
	flow.Set(f.e, f.gateways, "g", 80)
	for i := range n {
		f.setRoute(i, 0)
		if i%10 == 0 {
			service := fmt.Sprint("s", i/10)
			flow.Set(f.e, f.services, service, 8080)
			flow.Set(f.e, f.slices, service, &fleetSlice{service, "10.0.0.1"})
		}
	}
	f.e.Commit()
	return f
}

func (f *sample) setRoute(i, version int) {
	flow.Set(f.e, f.routes, fmt.Sprintf("r%05d", i), &fleetRoute{
		gateway: "g", host: fmt.Sprint("h", i), services: []string{
			fmt.Sprint("s", i/10),
			fmt.Sprint("v", version),
		}[:1+min(version, 1)],
	})
}

// computed returns the calls of row functions in the last batch, by table.
func (f *sample) computed() map[string]int {
	calls := map[string]int{}
	for _, s := range f.e.Stats() {
		if s.Computed > 0 {
			calls[s.Name] = s.Computed
		}
	}
	return calls
}

func TestWorkIsWhatHangsOnTheChange(t *testing.T) {
	f := newSample().fill(10_000)
	for _, c := range []struct {
		name   string
		change func()
		want   map[string]int
	}{
		{
			"one slice", func() { flow.Set(f.e, f.slices, "s7", &fleetSlice{"s7", "10.0.0.2"}) },
			map[string]int{"endpoints": 1},
		},
		{
			"one route's backends", func() { f.setRoute(77, 1) },
			map[string]int{"bindings": 1, "vhosts": 1, "clusters": 2},
		},
		{
			"one route less", func() { flow.Delete(f.e, f.routes, "r00099") },
			map[string]int{"listeners": 1, "clusters": 1},
		},
		{
			"one service", func() { flow.Set(f.e, f.services, "s9", 8081) },
			map[string]int{"clusters": 1, "endpoints": 1},
		},
		{
			"nothing in truth", func() { flow.Set(f.e, f.slices, "s8", &fleetSlice{"s8", "10.0.0.1"}) },
			map[string]int{},
		},
		{
			"the gateway", func() { flow.Set(f.e, f.gateways, "g", 81) },
			map[string]int{"bindings": 9_999, "listeners": 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := f.e.Stats()
			try(f.e, c.change, func(*flow.Changes) {})
			tried := map[string]int{}
			for i, s := range f.e.Stats() {
				if n := s.Tried - before[i].Tried; n > 0 {
					tried[s.Name] = n
				}
				if s.Total != before[i].Total {
					t.Errorf("a Try of %s counts as committed", s.Name)
				}
			}
			c.change()
			f.e.Commit()
			if diff := cmp.Diff(c.want, f.computed()); diff != "" {
				t.Errorf("commit: %s", diff)
			}
			if diff := cmp.Diff(c.want, tried); diff != "" {
				t.Errorf("try: %s", diff)
			}
		})
	}
}

func TestAllocationsDoNotGrowWithTheTables(t *testing.T) {
	measure := func(n int) (commit, trial float64) {
		f, version := newSample().fill(n), 0
		one := func() {
			version++
			flow.Set(f.e, f.slices, "s7", &fleetSlice{"s7", fmt.Sprint(version)})
		}
		commit = testing.AllocsPerRun(50, func() { one(); f.e.Commit() })
		trial = testing.AllocsPerRun(50, func() { try(f.e, one, func(*flow.Changes) {}) })
		return commit, trial
	}
	smallCommit, smallTry := measure(100)
	commit, trial := measure(5_000)
	if commit > smallCommit+1 || commit > 40 {
		t.Errorf("a commit allocates %v times among 5,000 routes and %v times among 100", commit, smallCommit)
	}
	if trial > smallTry+1 || trial > 60 {
		t.Errorf("a try allocates %v times among 5,000 routes and %v times among 100", trial, smallTry)
	}
}

// TestLongListsEqualFresh changes tables and index keys with many rows, now much at once and now little, so that
// lists are merged, dropped and made again.
func TestLongListsEqualFresh(t *testing.T) {
	for seed := range uint64(6) {
		rnd, f := rand.New(rand.NewPCG(seed, 2)), newSample()
		routes, gateways := map[string]*fleetRoute{}, map[string]int{}
		for range 30 {
			f.writeMuch(rnd, routes, gateways)
			f.e.Commit()
			o := f.oracle(routes, gateways)
			if diff := flow.Diff(f.e, o); diff != "" {
				t.Fatalf("seed %d:\n%s", seed, diff)
			}
			if rnd.IntN(2) == 0 && !slices.EqualFunc(f.bindings.All(f.e.Read()), f.bindings.All(o.Read()),
				func(a, b flow.Row[*fleetBinding]) bool { return a.Key == b.Key && *a.Value == *b.Value }) {
				t.Fatalf("seed %d: lists differ", seed)
			}
			if wrong := flow.Verify(f.e); wrong != "" {
				t.Fatalf("seed %d:\n%s", seed, wrong)
			}
			before := flow.Dump(f.e)
			try(f.e, func() { f.writeMuch(rnd, maps.Clone(routes), maps.Clone(gateways)) }, func(*flow.Changes) {
				if rnd.IntN(2) == 0 {
					f.bindings.All(f.e.Read())
				}
			})
			if diff := cmp.Diff(before, flow.Dump(f.e)); diff != "" {
				t.Fatalf("seed %d: a Try has left a trace: %s", seed, diff)
			}
		}
	}
}

// writeMuch changes up to 512 routes and both gateways, in the engine and in a model.
func (f *sample) writeMuch(rnd *rand.Rand, routes map[string]*fleetRoute, gateways map[string]int) {
	for range 1 + rnd.IntN(1<<rnd.IntN(10)) {
		k := fmt.Sprint("r", rnd.IntN(600))
		if rnd.IntN(3) == 0 {
			flow.Delete(f.e, f.routes, k)
			delete(routes, k)
			continue
		}
		routes[k] = &fleetRoute{
			fmt.Sprint("g", rnd.IntN(2)), fmt.Sprint("h", rnd.IntN(3)),
			[]string{fmt.Sprint("s", rnd.IntN(3))},
		}
		flow.Set(f.e, f.routes, k, routes[k])
	}
	for _, k := range []string{"g0", "g1"} {
		gateways[k] = rnd.IntN(2)
		flow.Set(f.e, f.gateways, k, gateways[k])
	}
}

func (f *sample) oracle(routes map[string]*fleetRoute, gateways map[string]int) *flow.Oracle {
	o := flow.NewOracle(f.graph)
	for k, v := range routes {
		flow.SetOracle(o, f.routes, k, v)
	}
	for k, v := range gateways {
		flow.SetOracle(o, f.gateways, k, v)
	}
	o.Run()
	return o
}

// TestManyReadersOfManyChanges would take minutes if each change of a list woke each of its readers.
func TestManyReadersOfManyChanges(t *testing.T) {
	const n = 20_000
	g := flow.NewGraph()
	in, other := flow.Input(g, "in", flow.Same[int]), flow.Input(g, "other", flow.Same[int])
	all := flow.NewIndex(in, "all", func(string, int) []string { return []string{""} })
	sums := flow.Derive(other, "sums", flow.Same[int], func(r *flow.Read, _ string, v int) (int, bool) {
		return len(all.Lookup(r, "")) + len(in.All(r)) + v, true
	})
	e := flow.NewEngine(g)
	for range 2 {
		for i := range n {
			key := fmt.Sprint(i)
			v, _ := in.Get(e.Read(), key)
			flow.Set(e, in, key, v+1)
			flow.Set(e, other, key, i)
		}
		e.Commit()
	}
	if v, _ := sums.Get(e.Read(), "7"); v != 2*n+7 {
		t.Error(v)
	}
	if s := e.Stats()[2]; s.Total != 2*n {
		t.Errorf("%+v", s)
	}
}

func TestNothingIsLeftOfManyRows(t *testing.T) {
	f := newSample().fill(3_000)
	for i := range 3_000 {
		flow.Delete(f.e, f.routes, fmt.Sprintf("r%05d", i))
		if i%700 == 0 {
			f.e.Commit()
			if wrong := flow.Verify(f.e); wrong != "" {
				t.Fatal(wrong)
			}
		}
	}
	for i := range 300 {
		flow.Delete(f.e, f.services, fmt.Sprint("s", i))
		flow.Delete(f.e, f.slices, fmt.Sprint("s", i))
	}
	flow.Delete(f.e, f.gateways, "g")
	f.e.Commit()
	for _, s := range f.e.Stats() {
		if s.Rows+s.Deps+s.Readers+s.Keys+s.Entries > 0 {
			t.Errorf("left over: %+v", s)
		}
	}
	if n := flow.Slots(f.e); n > 0 {
		t.Errorf("%d slots are kept", n)
	}
}
