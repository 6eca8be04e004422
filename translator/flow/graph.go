package flow

import "fmt"

// Graph declares tables, in order. It holds no rows, so any number of engines and oracles may share it. It takes no
// more tables or indexes once the first of these was made.
type Graph struct {
	tables []declared
	names  map[string]bool
	frozen bool
	// outlets reports by table whether it is one.
	outlets []bool
}

// declared is a table of a graph, whatever its rows are.
type declared interface {
	Name() string
	newRows(e *Engine) node
	newPlain() any
	fill(o *Oracle)
	diff(e *Engine, o *Oracle, most int) []string
}

// NewGraph returns a graph without tables.
func NewGraph() *Graph { return &Graph{names: map[string]bool{}} }

// Table is a declared table. It is the handle by which an [Engine], an [Oracle] and a [Read] find the rows.
type Table[V any] struct {
	graph   *Graph
	id      int32
	name    string
	equal   func(a, b V) bool
	indexes []*Index[V]

	// work makes what keeps the table up to date in an engine; it is nil for inputs.
	work func(e *Engine, out *rows[V]) worker
	// loop yields every row, for an oracle; it is nil for inputs.
	loop func(r *Read, yield func(key string, v V))
}

// Name returns the name under which the table was declared.
func (t *Table[V]) Name() string { return t.name }

// Outlet makes a derived table one that only those outside read, after a Commit. A Try leaves it as it is, because what it
// would become is of no use to anybody. It returns the table.
func (t *Table[V]) Outlet() *Table[V] {
	t.graph.open("outlet " + t.name)
	t.graph.outlets[t.id] = true
	return t
}

// Row is a value and the key under which a table holds it.
type Row[V any] struct {
	Key   string
	Value V
}

// Same is the equal function of values that Go can compare.
func Same[V comparable](a, b V) bool { return a == b }

// Input declares a table that is written from outside, with [Set] and [Delete].
func Input[V any](g *Graph, name string, equal func(a, b V) bool) *Table[V] {
	return declare(g, name, equal)
}

// Derive declares a table with one row per row of parent, under the same key. A row for which fn returns false is
// left out; what fn read is remembered all the same.
func Derive[I, O any](parent *Table[I], name string, equal func(a, b O) bool,
	fn func(r *Read, key string, in I) (O, bool),
) *Table[O] {
	t := declare(parent.graph, name, equal)
	t.work = func(e *Engine, out *rows[O]) worker {
		in := rowsOf(e, parent)
		w := &single[O]{out: out, call: func(c int32) (O, bool) { return fn(&e.read, in.cells[c].key, in.values[c]) }}
		w.attach(&in.source, t.id)
		return w
	}
	t.loop = func(r *Read, yield func(string, O)) {
		for _, row := range parent.All(r) {
			if v, ok := fn(r, row.Key, row.Value); ok {
				yield(row.Key, v)
			}
		}
	}
	return t
}

// Expand declares a table with any number of rows per row of parent. The keys that a row of parent yields must be
// its alone: two rows under one key are a programmer's mistake, and Commit panics with the table and the key. A key
// may pass from one row of parent to another within a batch.
func Expand[I, O any](parent *Table[I], name string, equal func(a, b O) bool,
	fn func(r *Read, key string, in I) []Row[O],
) *Table[O] {
	t := declare(parent.graph, name, equal)
	t.work = func(e *Engine, out *rows[O]) worker {
		in := rowsOf(e, parent)
		w := &several[O]{out: out, call: func(c int32) []Row[O] { return fn(&e.read, in.cells[c].key, in.values[c]) }}
		w.attach(&in.source, t.id)
		return w
	}
	t.loop = func(r *Read, yield func(string, O)) {
		for _, row := range parent.All(r) {
			for _, out := range fn(r, row.Key, row.Value) {
				yield(out.Key, out.Value)
			}
		}
	}
	return t
}

// Concat declares a table with the rows of several parents, under the same keys. A key must be of one parent alone: the
// same key in two is a programmer's mistake, and Commit panics with the table and the key. It may pass from one parent
// to another within a batch.
func Concat[V any](name string, equal func(a, b V) bool, parents ...*Table[V]) *Table[V] {
	t := declare(parents[0].graph, name, equal)
	t.work = func(e *Engine, out *rows[V]) worker {
		w := &joined[V]{out: out}
		for _, p := range parents {
			w.parts = append(w.parts, newPart(rowsOf(e, p), t.id))
		}
		return w
	}
	t.loop = func(r *Read, yield func(string, V)) {
		for _, p := range parents {
			for _, row := range p.All(r) {
				yield(row.Key, row.Value)
			}
		}
	}
	return t
}

// Index lets the rows of a table be found by keys other than their own.
type Index[V any] struct {
	table *Table[V]
	at    int
	name  string
	keys  func(key string, v V) []string
}

// NewIndex declares an index of t. The keys of a row must depend on the row alone; the same key twice counts once.
func NewIndex[V any](t *Table[V], name string, keys func(key string, v V) []string) *Index[V] {
	t.graph.open("index " + name)
	x := &Index[V]{table: t, at: len(t.indexes), name: t.name + "." + name, keys: keys}
	t.indexes = append(t.indexes, x)
	return x
}

// Group declares a table with one row per key of an index, computed from the rows found under it, which are sorted
// by key. It is computed again when a member appears, changes or goes. Without members there is no row. The members
// must not be written to.
func Group[I, O any](x *Index[I], name string, equal func(a, b O) bool,
	fn func(r *Read, key string, members []Row[I]) (O, bool),
) *Table[O] {
	t := declare(x.table.graph, name, equal)
	t.work = func(e *Engine, out *rows[O]) worker {
		in := rowsOf(e, x.table).indexes[x.at]
		w := &single[O]{out: out, call: func(c int32) (O, bool) { return fn(&e.read, in.cells[c].key, in.lists[c].all()) }}
		w.attach(&in.source, t.id)
		return w
	}
	t.loop = func(r *Read, yield func(string, O)) {
		plain := plainOf(r.oracle, x.table)
		for _, key := range plain.keysOf(x) {
			if v, ok := fn(r, key, plain.lookup(x, key)); ok {
				yield(key, v)
			}
		}
	}
	return t
}

// Keys declares a table with one row per key of an index: the key itself. Its rows change when a key gets its first member
// or loses the last one, and not when a member changes.
func Keys[I any](x *Index[I], name string) *Table[string] {
	t := declare(x.table.graph, name, Same[string])
	t.work = func(e *Engine, out *rows[string]) worker {
		in := rowsOf(e, x.table).indexes[x.at]
		w := &single[string]{out: out, call: func(c int32) (string, bool) { return in.cells[c].key, true }}
		w.attach(&in.source, t.id)
		return w
	}
	t.loop = func(r *Read, yield func(string, string)) {
		for _, key := range plainOf(r.oracle, x.table).keysOf(x) {
			yield(key, key)
		}
	}
	return t
}

func declare[V any](g *Graph, name string, equal func(a, b V) bool) *Table[V] {
	g.open("table " + name)
	if g.names[name] {
		panic(fmt.Sprintf("flow: table %q is declared twice", name))
	}
	if equal == nil {
		panic(fmt.Sprintf("flow: table %q has no equal function", name))
	}
	t := &Table[V]{graph: g, id: int32(len(g.tables)), name: name, equal: equal}
	g.names[name] = true
	g.tables = append(g.tables, t)
	g.outlets = append(g.outlets, false)
	return t
}

// open panics if the graph is in use and so can take nothing more.
func (g *Graph) open(what string) {
	if g.frozen {
		panic("flow: " + what + " is declared after an engine or oracle was made from the graph")
	}
}
