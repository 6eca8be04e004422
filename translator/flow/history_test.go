package flow_test

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/translator/flow"
)

// maze is a graph with every construct, whose row functions read whatever their values send them to.
type maze struct {
	graph  *flow.Graph
	inputs [3]*flow.Table[int]
	engine *flow.Engine
	model  [3]map[string]int
}

const mazeKeys = "abcdefgh"

// mix makes a number of at most n out of anything; few numbers make for many equal rows.
func mix(n uint32, parts ...any) int {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, parts...)
	return int(h.Sum32() % n)
}

func key(n int) string { return mazeKeys[n%len(mazeKeys) : n%len(mazeKeys)+1] }

func someKeys(k string, v int) []string {
	return []string{key(v), key(v), key(mix(3, k, v))}[:v%4]
}

func newMaze() *maze {
	m, g := &maze{graph: flow.NewGraph()}, (*flow.Graph)(nil)
	g = m.graph
	for i := range m.inputs {
		m.inputs[i] = flow.Input(g, fmt.Sprint("in", i), flow.Same[int])
		m.model[i] = map[string]int{}
	}
	a, b, c := m.inputs[0], m.inputs[1], m.inputs[2]
	byA, byB := flow.NewIndex(a, "some", someKeys), flow.NewIndex(b, "some", someKeys)

	chain := flow.Derive(a, "chain", flow.Same[int], func(r *flow.Read, k string, v int) (int, bool) {
		for range 4 { // each answer says what to read next
			next, ok := b.Get(r, key(v))
			if !ok {
				break
			}
			v += next
		}
		return mix(5, k, v), v%3 > 0
	})
	byChain := flow.NewIndex(chain, "some", someKeys)
	gather := flow.Group(byA, "gather", flow.Same[int], func(r *flow.Read, k string, members []flow.Row[int]) (int, bool) {
		n := mix(5, k, members, byB.Lookup(r, key(len(members))))
		return n, n > 0
	})
	// Some keys are a row's own; others belong to whom input 2 names, and pass from row to row.
	spread := flow.Expand(b, "spread", flow.Same[int], func(r *flow.Read, k string, v int) (out []flow.Row[int]) {
		for i := range v % 3 {
			out = append(out, flow.Row[int]{Key: fmt.Sprint(k, i), Value: mix(4, v, i)})
		}
		for _, shared := range mazeKeys[:4] {
			if owner, ok := c.Get(r, string(shared)); ok && key(owner) == k {
				out = append(out, flow.Row[int]{Key: string(shared), Value: v % 2})
			}
		}
		return out
	})
	bySpread := flow.NewIndex(spread, "some", someKeys)
	wide := flow.Derive(spread, "wide", flow.Same[int], func(r *flow.Read, k string, v int) (int, bool) {
		if v%2 == 1 {
			return mix(6, k, chain.All(r), gather.All(r)), true
		}
		n, ok := gather.Get(r, k)
		return n + v, ok
	})
	// A key of both parents goes from one to the other and back.
	left := flow.Expand(chain, "left", flow.Same[int], func(_ *flow.Read, k string, v int) []flow.Row[int] {
		if v%2 == 0 {
			return []flow.Row[int]{{Key: "both " + k, Value: v}}
		}
		return []flow.Row[int]{{Key: "left " + k, Value: v}}
	})
	right := flow.Derive(flow.Expand(a, "right keys", flow.Same[int], func(_ *flow.Read, k string, v int) []flow.Row[int] {
		return []flow.Row[int]{{Key: "both " + k, Value: v}}
	}), "right", flow.Same[int], func(r *flow.Read, k string, v int) (int, bool) {
		_, taken := left.Get(r, k)
		return v, !taken
	})
	both := flow.Concat("both", flow.Same[int], left, right)
	flow.Derive(both, "each of both", flow.Same[int], func(r *flow.Read, k string, v int) (int, bool) {
		n, ok := both.Get(r, "both "+key(v))
		return mix(5, k, v, n, ok), true
	})
	flow.Group(flow.NewIndex(both, "some", someKeys), "groups of both", flow.Same[int],
		func(_ *flow.Read, k string, members []flow.Row[int]) (int, bool) {
			return mix(5, k, members), true
		})
	knots := flow.Group(bySpread, "knots", flow.Same[int], func(r *flow.Read, _ string, members []flow.Row[int]) (int,
		bool,
	) {
		sum := 0
		for _, row := range members {
			n, _ := wide.Get(r, row.Key)
			sum += n
		}
		return mix(7, sum, byChain.Lookup(r, key(sum))), true
	})
	names := flow.NewIndex(flow.Keys(byChain, "names"), "all", func(string, string) []string { return []string{"all"} })
	flow.Derive(c, "counts", flow.Same[int], func(r *flow.Read, k string, v int) (int, bool) {
		return mix(9, k, byA.Count(r, key(v)), names.Count(r, "all")), true
	})
	flow.Expand(knots, "ends", flow.Same[int], func(r *flow.Read, k string, v int) (out []flow.Row[int]) {
		for _, row := range byChain.Lookup(r, key(v)) {
			out = append(out, flow.Row[int]{Key: k + "/" + row.Key, Value: row.Value})
		}
		return out
	})
	m.engine = flow.NewEngine(g)
	return m
}

// write sets or deletes one input row, in the engine and in a model of its inputs.
func (m *maze) write(model *[3]map[string]int, op byte, arg byte) {
	table, k, v := int(op>>2)%3, key(int(arg)), int(arg>>3)
	if op%4 == 0 {
		flow.Delete(m.engine, m.inputs[table], k)
		delete(model[table], k)
		return
	}
	flow.Set(m.engine, m.inputs[table], k, v)
	model[table][k] = v
}

// oracle computes the tables out of a model from nothing.
func (m *maze) oracle(model [3]map[string]int) *flow.Oracle {
	o := flow.NewOracle(m.graph)
	for i, rows := range model {
		for k, v := range rows {
			flow.SetOracle(o, m.inputs[i], k, v)
		}
	}
	o.Run()
	return o
}

// checkChanges says how the changes of a batch differ from what is seen by comparing all tables.
func checkChanges(before, after map[string]map[string]any, c *flow.Changes) string {
	want := map[string]map[string]any{}
	note := func(table, key string, was any) {
		if want[table] == nil {
			want[table] = map[string]any{}
		}
		want[table][key] = was
	}
	for table, rows := range after {
		for k, v := range rows {
			if was, ok := before[table][k]; !ok || was != v {
				note(table, k, was)
			}
		}
		for k, was := range before[table] {
			if _, ok := rows[k]; !ok {
				note(table, k, was)
			}
		}
	}
	return cmp.Diff(want, c.Before())
}

// history plays a history, two bytes an event, and checks every state that it passes through.
func history(t *testing.T, events []byte) {
	m := newMaze()
	last := flow.Snapshot(m.engine)
	commit := func() {
		t.Helper()
		c := m.engine.Commit()
		if diff := flow.Diff(m.engine, m.oracle(m.model)); diff != "" {
			t.Fatalf("after a commit:\n%s", diff)
		}
		now := flow.Snapshot(m.engine)
		if diff := checkChanges(last, now, c); diff != "" {
			t.Fatalf("changes of a commit (-want +got):\n%s", diff)
		}
		if wrong := flow.Verify(m.engine); wrong != "" {
			t.Fatalf("after a commit:\n%s", wrong)
		}
		last = now
	}
	for len(events) >= 2 {
		op, arg := events[0], events[1]
		events = events[2:]
		switch op >> 5 {
		case 0:
			commit()
		case 1:
			commit()
			n := min(int(arg)%8*2, len(events)) &^ 1
			m.try(t, last, events[:n], arg)
			events = events[n:]
		case 2: // somebody asks for whole tables
			for i := range m.inputs {
				m.inputs[i].All(m.engine.Read())
			}
		default:
			m.write(&m.model, op, arg)
		}
	}
	commit()
	for i := range m.inputs {
		for k := range m.model[i] {
			flow.Delete(m.engine, m.inputs[i], k)
		}
		clear(m.model[i])
	}
	commit()
	for _, s := range m.engine.Stats() {
		if s.Rows+s.Deps+s.Readers+s.Keys+s.Entries > 0 {
			t.Errorf("left over after all inputs went: %+v", s)
		}
	}
	if n := flow.Slots(m.engine); n > 0 {
		t.Errorf("%d slots are kept after all inputs went", n)
	}
}

// try plays events inside a Try and checks that they show and leave no trace.
func (m *maze) try(t *testing.T, last map[string]map[string]any, events []byte, how byte) {
	t.Helper()
	model := [3]map[string]int{}
	for i := range model {
		model[i] = maps.Clone(m.model[i])
	}
	before := flow.Dump(m.engine)
	func() {
		defer func() {
			if v := recover(); v != nil && v != "look stops" {
				panic(v)
			}
		}()
		try(m.engine, func() {
			for ; len(events) > 0; events = events[2:] {
				m.write(&model, events[0], events[1])
			}
		}, func(c *flow.Changes) {
			if diff := flow.Diff(m.engine, m.oracle(model)); diff != "" {
				t.Fatalf("in a Try:\n%s", diff)
			}
			if diff := checkChanges(last, flow.Snapshot(m.engine), c); diff != "" {
				t.Fatalf("changes of a Try (-want +got):\n%s", diff)
			}
			if how&8 > 0 {
				for i := range m.inputs {
					m.inputs[i].All(m.engine.Read())
				}
			}
			if how&16 > 0 {
				panic("look stops")
			}
		})
	}()
	if diff := cmp.Diff(before, flow.Dump(m.engine)); diff != "" {
		t.Fatalf("a Try has left a trace (-before +after):\n%s", diff)
	}
	if wrong := flow.Verify(m.engine); wrong != "" {
		t.Fatalf("after a Try:\n%s", wrong)
	}
}

func randomEvents(seed uint64, n int) []byte {
	events, rnd := make([]byte, n), rand.New(rand.NewPCG(seed, 1))
	for i := range events {
		events[i] = byte(rnd.Uint32())
	}
	return events
}

func TestAnyHistoryEqualsFresh(t *testing.T) {
	for seed := range uint64(150) {
		if history(t, randomEvents(seed, 240)); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzAnyHistoryEqualsFresh(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomEvents(1000+seed, 40<<(seed%4)))
	}
	f.Fuzz(func(t *testing.T, events []byte) {
		if len(events) > 2000 {
			t.Skip()
		}
		history(t, events)
	})
}
