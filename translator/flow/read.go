package flow

import (
	"fmt"
	"math"
)

// Read is the handle by which a row function reads rows, of tables declared before its own. What it read is
// remembered, and the row is computed again when an answer changes. It must not be used after the function returned.
type Read struct {
	engine  *Engine
	oracle  *Oracle
	level   int32 // tables from this one on must not be read
	tracked bool
	deps    []dep
}

// Read returns a handle that reads all tables and remembers nothing, for use from outside row functions.
func (e *Engine) Read() *Read { return &Read{engine: e, level: math.MaxInt32} }

// Count returns how many rows are found under a key of the index. A row that asks for it is computed again when one of
// these rows changes, too.
func (x *Index[V]) Count(r *Read, key string) int {
	r.allow(x.table.id, x.name)
	if r.oracle != nil {
		return len(plainOf(r.oracle, x.table).lookup(x, key))
	}
	b := rowsOf(r.engine, x.table).indexes[x.at]
	if c, ok := r.ask(&b.source, key); ok {
		return b.lists[c].size
	}
	return 0
}

// Get returns the row of a key, if there is one.
func (t *Table[V]) Get(r *Read, key string) (v V, ok bool) {
	r.allow(t.id, t.name)
	if r.oracle != nil {
		v, ok = plainOf(r.oracle, t).rows[key]
		return v, ok
	}
	rs := rowsOf(r.engine, t)
	if c, ok := r.ask(&rs.source, key); ok {
		return rs.values[c], true
	}
	return v, false
}

// Lookup returns the rows found under a key of the index, sorted by their own keys. The slice must not be written to.
func (x *Index[V]) Lookup(r *Read, key string) []Row[V] {
	r.allow(x.table.id, x.name)
	if r.oracle != nil {
		return plainOf(r.oracle, x.table).lookup(x, key)
	}
	b := rowsOf(r.engine, x.table).indexes[x.at]
	if c, ok := r.ask(&b.source, key); ok {
		return b.lists[c].all()
	}
	return nil
}

// All returns the whole table sorted by key. A row that asks for it is computed again on any change of the table. The
// slice must not be written to.
func (t *Table[V]) All(r *Read) []Row[V] {
	r.allow(t.id, t.name)
	if r.oracle != nil {
		return plainOf(r.oracle, t).all()
	}
	rs := rowsOf(r.engine, t)
	r.ask(&rs.whole.source, "")
	return rs.all()
}

// allow panics if a table must not be read, since it is not up to date yet.
func (r *Read) allow(table int32, name string) {
	if r == nil {
		panic("flow: " + name + " is read without a Read; outside row functions, use that of the engine")
	}
	if r.tracked && r.engine.graph.outlets[table] {
		panic(fmt.Sprintf("flow: %s is read by a row function, but it is an outlet", name))
	}
	if r.engine != nil && r.engine.mode == trying && r.engine.graph.outlets[table] {
		panic(fmt.Sprintf("flow: %s is read in a Try, which does not compute outlets", name))
	}
	if table >= r.level {
		panic(fmt.Sprintf("flow: %s is read, which is not declared before the reader", name))
	}
}

// ask returns the cell of a key, if there is something in it. A row function's question is remembered.
func (r *Read) ask(s *source, key string) (int32, bool) {
	if !r.tracked {
		c, ok := s.find[key]
		return c, ok && s.cells[c].held
	}
	c := s.intern(key)
	r.deps = append(r.deps, dep{source: s.id, cell: c})
	return c, s.cells[c].held
}
