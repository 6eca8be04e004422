package flow_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/translator/flow"
)

// shop is a graph small enough to follow by hand: routes name services, hosts gather routes.
type shop struct {
	routes   *flow.Table[string] // "host service service"
	services *flow.Table[int]    // ports
	clusters *flow.Table[string] // one per service of a route
	byHost   *flow.Index[string]
	hosts    *flow.Table[string] // the routes of a host
	resolved *flow.Table[string] // a route and the ports of its services
	total    *flow.Table[int]    // by host: how many clusters there are at all
	e        *flow.Engine
}

func newShop() *shop {
	g, s := flow.NewGraph(), &shop{}
	s.services = flow.Input(g, "services", flow.Same[int])
	s.routes = flow.Input(g, "routes", flow.Same[string])
	s.byHost = flow.NewIndex(s.routes, "byHost", func(_, v string) []string { return strings.Fields(v)[:1] })
	s.resolved = flow.Derive(s.routes, "resolved", flow.Same[string], func(r *flow.Read, _, in string) (string, bool) {
		var b strings.Builder
		for _, name := range strings.Fields(in)[1:] {
			port, ok := s.services.Get(r, name)
			if name == "panic" {
				panic("name")
			}
			if ok {
				fmt.Fprintf(&b, "%s:%d ", name, port)
			}
		}
		return strings.TrimSpace(b.String()), b.Len() > 0
	})
	s.clusters = flow.Expand(s.routes, "clusters", flow.Same[string],
		func(_ *flow.Read, key, in string) []flow.Row[string] {
			var out []flow.Row[string]
			for _, name := range strings.Fields(in)[1:] {
				out = append(out, flow.Row[string]{Key: name, Value: key})
			}
			return out
		})
	s.hosts = flow.Group(s.byHost, "hosts", flow.Same[string],
		func(_ *flow.Read, key string, members []flow.Row[string]) (string, bool) {
			var keys []string
			for _, m := range members {
				keys = append(keys, m.Key)
			}
			return strings.Join(keys, " "), key != "hidden"
		})
	s.total = flow.Derive(s.hosts, "total", flow.Same[int], func(r *flow.Read, _, _ string) (int, bool) {
		return len(s.clusters.All(r)), true
	})
	s.e = flow.NewEngine(g)
	return s
}

// set takes pairs of key and value; an empty value deletes.
func (s *shop) set(pairs ...string) *flow.Changes {
	s.stage(pairs...)
	return s.e.Commit()
}

func (s *shop) stage(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			flow.Delete(s.e, s.routes, pairs[i])
		} else {
			flow.Set(s.e, s.routes, pairs[i], pairs[i+1])
		}
	}
}

func rows[V any](e *flow.Engine, t *flow.Table[V]) string {
	var b strings.Builder
	for _, r := range t.All(e.Read()) {
		fmt.Fprintf(&b, "%s=%v;", r.Key, r.Value)
	}
	return b.String()
}

func want[V any](t *testing.T, e *flow.Engine, table *flow.Table[V], want string) {
	t.Helper()
	if got := rows(e, table); got != want {
		t.Errorf("table %s: got %s want %s", table.Name(), got, want)
	}
}

func TestTablesFollowTheirInputs(t *testing.T) {
	s := newShop()
	flow.Set(s.e, s.services, "x", 80)
	s.set("r1", "a x", "r2", "a y", "r3", "hidden")
	want(t, s.e, s.resolved, "r1=x:80;")
	want(t, s.e, s.clusters, "x=r1;y=r2;")
	want(t, s.e, s.hosts, "a=r1 r2;")
	want(t, s.e, s.total, "a=2;")

	flow.Set(s.e, s.services, "y", 81) // r2 looked for it and did not find it
	c := s.e.Commit()
	want(t, s.e, s.resolved, "r1=x:80;r2=y:81;")
	if diff := cmp.Diff([]string{"r2"}, flow.Changed(c, s.resolved)); diff != "" {
		t.Error(diff)
	}

	c = s.set("r1", "b x", "r2", "a x", "r1", "b y") // keys x and y change hands; the last Set counts
	want(t, s.e, s.clusters, "x=r2;y=r1;")
	want(t, s.e, s.hosts, "a=r2;b=r1;")
	if diff := cmp.Diff([]string{"x", "y"}, flow.Changed(c, s.clusters)); diff != "" {
		t.Error(diff)
	}
	if v, ok := flow.Before(c, s.clusters, "x"); v != "r1" || !ok {
		t.Errorf("before: %q %v", v, ok)
	}
	if _, ok := flow.Before(c, s.hosts, "b"); ok {
		t.Error("host b was there before")
	}

	if c = s.set("r1", "b y", "none", ""); !c.Empty() {
		t.Errorf("an equal row and the removal of no row have changed something: %+v", c)
	}
	s.set("r1", "", "r2", "", "r3", "")
	want(t, s.e, s.resolved, "")
	want(t, s.e, s.clusters, "")
	want(t, s.e, s.hosts, "")
	want(t, s.e, s.total, "")
}

func TestTryShowsAndPutsBack(t *testing.T) {
	s := newShop()
	flow.Set(s.e, s.services, "x", 80)
	s.set("r1", "a x", "r2", "b y")
	seen := false
	try(s.e, func() { s.stage("r1", "", "r3", "b x") }, func(c *flow.Changes) {
		seen = true
		want(t, s.e, s.clusters, "x=r3;y=r2;")
		want(t, s.e, s.hosts, "b=r2 r3;")
		if diff := cmp.Diff([]string{"a", "b"}, flow.Changed(c, s.hosts)); diff != "" {
			t.Error(diff)
		}
		if v, ok := flow.Before(c, s.hosts, "a"); v != "r1" || !ok {
			t.Errorf("before: %q %v", v, ok)
		}
		if v, ok := flow.Before(c, s.services, "x"); v != 80 || !ok {
			t.Errorf("before, of what has not changed: %d %v", v, ok)
		}
	})
	if !seen {
		t.Fatal("look was not called")
	}
	want(t, s.e, s.clusters, "x=r1;y=r2;")
	want(t, s.e, s.hosts, "a=r1;b=r2;")
	if c := s.e.Commit(); !c.Empty() {
		t.Error("a commit after a Try has changed something")
	}
}

// TestOutletsAreForThoseOutside: an outlet follows each Commit, no Try computes it, and nothing inside may read it.
func TestOutletsAreForThoseOutside(t *testing.T) {
	g := flow.NewGraph()
	in := flow.Input(g, "in", flow.Same[int])
	calls := 0
	double := func(_ *flow.Read, _ string, v int) (int, bool) { calls++; return 2 * v, true }
	out := flow.Derive(in, "out", flow.Same[int], double).Outlet()
	reader := flow.Derive(in, "reader", flow.Same[int], func(r *flow.Read, key string, v int) (int, bool) {
		if v < 10 {
			return v, true
		}
		return out.Get(r, key)
	})
	e := flow.NewEngine(g)
	flow.Set(e, in, "k", 1)
	e.Commit()
	want(t, e, out, "k=2;")
	try(e, func() { flow.Set(e, in, "k", 3) }, func(c *flow.Changes) {
		want(t, e, reader, "k=3;")
		if calls != 1 || flow.Changed(c, out) != nil {
			t.Error("a Try has computed the outlet")
		}
		mustPanic(t, "out is read in a Try", func() { out.Get(e.Read(), "k") })
	})
	want(t, e, out, "k=2;")
	if c := e.Commit(); !c.Empty() || calls != 1 {
		t.Error("a Try has left work behind")
	}
	flow.Set(e, in, "k", 4)
	e.Commit()
	want(t, e, out, "k=8;")
	flow.Set(e, in, "k", 10)
	mustPanic(t, "out is read by a row function", func() { e.Commit() })
	g = flow.NewGraph()
	flow.Derive(flow.Input(g, "in", flow.Same[int]).Outlet(), "derived", flow.Same[int], double)
	mustPanic(t, "a table is derived from in, which is an outlet", func() { flow.NewEngine(g) })
}

func mustPanic(t *testing.T, want string, do func()) {
	t.Helper()
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
			t.Errorf("got %v\nwant %s", got, want)
		}
	}()
	do()
}

func TestMistakesPanicInWords(t *testing.T) {
	s := newShop()
	s.set("r1", "a x")
	other := flow.Input(flow.NewGraph(), "other", flow.Same[int])
	for name, c := range map[string]struct {
		do   func()
		want string
	}{
		"nil Read":       {func() { s.hosts.Get(nil, "a") }, "hosts is read without a Read"},
		"foreign table":  {func() { flow.Set(s.e, other, "k", 1) }, "table other is not of the engine's graph"},
		"set of derived": {func() { flow.Set(s.e, s.hosts, "k", "v") }, `Set of "k" in table hosts, which is not an input`},
		"try in try": {
			func() { try(s.e, func() {}, func(*flow.Changes) { try(s.e, nil, nil) }) },
			"Try is called in the look function",
		},
		"set in look": {
			func() { try(s.e, func() {}, func(*flow.Changes) { s.stage("r", "a") }) },
			"Set is called in the look function",
		},
		"commit in change": {func() { try(s.e, func() { s.e.Commit() }, nil) }, "Commit is called in the change function"},
		"key twice": {
			func() { try(s.e, func() { s.stage("r2", "a x") }, nil) },
			`table clusters, row "x": the row "x" is yielded twice, for "r1" and for "r2" of routes`,
		},
		"after a good key": {func() { try(s.e, func() { s.stage("r2", "a new x") }, nil) }, `table clusters, row "x"`},
		"key twice in one": {func() { try(s.e, func() { s.stage("r2", "a z z") }, nil) }, `table clusters, row "z"`},
		"after reading": {
			func() { try(s.e, func() { s.stage("r2", "a new panic") }, nil) },
			`table resolved, row "r2": name`,
		},
		"row function": {
			func() { try(s.e, func() { s.stage("r2", " ") }, nil) },
			`table routes, row "r2": runtime error: slice bounds out of range`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				got := recover()
				if !strings.Contains(fmt.Sprint(got), c.want) {
					t.Errorf("got %v\nwant %s", got, c.want)
				}
				want(t, s.e, s.hosts, "a=r1;") // a failed Try has put everything back
				if wrong := flow.Verify(s.e); wrong != "" {
					t.Error(wrong)
				}
				s.set("r1", "a")
				want(t, s.e, s.total, "a=0;")
				if deps, _ := s.e.Explain("resolved", "r1"); len(deps) != 1 {
					t.Errorf("the row has taken what another has read: %q", deps)
				}
				s.set("r1", "a x")
				if c := s.e.Commit(); !c.Empty() {
					t.Error("a commit after a failed Try has changed something")
				}
			}()
			c.do()
		})
	}
	s.stage("r2", "b")
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "while inputs of routes wait") {
			t.Error(got)
		}
	}()
	try(s.e, func() {}, nil)
}

func TestDeclarationMistakes(t *testing.T) {
	g := flow.NewGraph()
	flow.Input(g, "in", flow.Same[int])
	for name, c := range map[string]struct {
		do   func()
		want string
	}{
		"same name": {func() { flow.Input(g, "in", flow.Same[int]) }, `table "in" is declared twice`},
		"no equal":  {func() { flow.Input[int](g, "x", nil) }, `table "x" has no equal function`},
		"reads a later table": {func() {
			g := flow.NewGraph()
			in := flow.Input(g, "in", flow.Same[int])
			var later *flow.Table[int]
			flow.Derive(in, "early", flow.Same[int], func(r *flow.Read, key string, _ int) (int,
				bool,
			) {
				return later.Get(r, key)
			})
			later = flow.Input(g, "later", flow.Same[int])
			e := flow.NewEngine(g)
			flow.Set(e, in, "k", 1)
			e.Commit()
		}, `table early, row "k": flow: later is read, which is not declared before the reader`},
		"too late": {func() {
			g := flow.NewGraph()
			in := flow.Input(g, "in", flow.Same[int])
			flow.NewEngine(g)
			flow.NewIndex(in, "late", nil)
		}, "index late is declared after an engine or oracle"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, c.want) {
					t.Errorf("got %v\nwant %s", got, c.want)
				}
			}()
			c.do()
		})
	}
}

func TestRowPanicKeepsTheError(t *testing.T) {
	g, broken := flow.NewGraph(), errors.New("broken")
	in := flow.Input(g, "in", flow.Same[int])
	flow.Derive(in, "out", flow.Same[int], func(*flow.Read, string, int) (int, bool) { panic(broken) })
	e := flow.NewEngine(g)
	flow.Set(e, in, "k", 1)
	defer func() {
		var p *flow.RowPanic
		err, _ := recover().(error)
		if !errors.As(err, &p) || p.Table != "out" || p.Key != "k" || !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}()
	e.Commit()
}

func TestExplain(t *testing.T) {
	s := newShop()
	flow.Set(s.e, s.services, "x", 80)
	s.set("r1", "a x y", "r2", "a")
	for _, c := range []struct {
		table, key string
		want       []string
		ok         bool
	}{
		{"resolved", "r1", []string{"routes[r1]", "services[x]", "services[y] (missing)"}, true},
		{"resolved", "r2", []string{"routes[r2]"}, true}, // no row, but called
		{"clusters", "y", []string{"routes[r1]"}, true},
		{"hosts", "a", []string{"routes.byHost[a]"}, true},
		{"total", "a", []string{"hosts[a]", "clusters[*]"}, true},
		{"routes", "r1", nil, true},
		{"routes", "r9", nil, false},
		{"hosts", "b", nil, false},
		{"nowhere", "a", nil, false},
	} {
		got, ok := s.e.Explain(c.table, c.key)
		if diff := cmp.Diff(c.want, got); diff != "" || ok != c.ok {
			t.Errorf("%s[%s]: %v %s", c.table, c.key, ok, diff)
		}
	}
	if keys, ok := s.e.Keys("clusters"); !ok || strings.Join(keys, " ") != "x y" {
		t.Errorf("keys: %q %v", keys, ok)
	}
	for _, c := range []struct{ table, key, want string }{
		{"clusters", "y", "r1 true"}, {"services", "y", "<nil> false"}, {"nowhere", "y", "<nil> false"},
	} {
		if v, ok := s.e.Value(c.table, c.key); fmt.Sprint(v, " ", ok) != c.want {
			t.Errorf("value of %s[%s]: %v %v", c.table, c.key, v, ok)
		}
	}
}

// TestConcat: a row of either parent is a row, and explained by it; a key in both parents is a mistake that Commit
// names.
func TestConcat(t *testing.T) {
	g := flow.NewGraph()
	a, b := flow.Input(g, "a", flow.Same[int]), flow.Input(g, "b", flow.Same[int])
	both := flow.Concat("both", flow.Same[int], a, b)
	e := flow.NewEngine(g)
	flow.Set(e, a, "x", 1)
	flow.Set(e, b, "y", 2)
	e.Commit()
	want(t, e, both, "x=1;y=2;")
	if deps, ok := e.Explain("both", "y"); !ok || strings.Join(deps, " ") != "b[y]" {
		t.Errorf("y is explained by %q, %v", deps, ok)
	}
	flow.Delete(e, a, "x")
	flow.Set(e, b, "x", 3)
	e.Commit()
	want(t, e, both, "x=3;y=2;")
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, `table both, row "y": the row "y" is in both a and b`) {
			t.Error(got)
		}
	}()
	flow.Set(e, a, "y", 4)
	e.Commit()
}
