package flow

import (
	"slices"
	"time"
)

// TableStats is what a table holds, and the work that it has done.
type TableStats struct {
	Name    string
	Rows    int
	Deps    int // what its row functions have read, their own parents not counted
	Readers int // how many times row functions have read it, its indexes included
	Keys    int // keys remembered, of rows, of indexes, and of what was looked for and not found
	Entries int // rows in all lists of its indexes

	Computed int           // calls of its row function in the last batch
	Total    int           // calls of its row function in all batches
	Tried    int           // calls of its row function in Try
	Duration time.Duration // what the last batch took
}

// Stats returns the statistics of every table in the order of declaration.
func (e *Engine) Stats() []TableStats {
	stats := make([]TableStats, len(e.nodes))
	for i, n := range e.nodes {
		stats[i] = n.stats()
		if ts := e.tasks[i]; ts != nil {
			stats[i].Deps = ts.deps
		}
	}
	return stats
}

func (rs *rows[V]) stats() TableStats {
	s := TableStats{
		Name: rs.name, Rows: rs.count,
		Readers: rs.links + rs.whole.links,
		Keys:    len(rs.find) + len(rs.whole.find),
		Total:   rs.ran[committing].total,
		Tried:   rs.ran[trying].total,
	}
	if r := rs.ran[committing]; r.batch == rs.engine.batches[committing] {
		s.Computed, s.Duration = r.last, r.took
	}
	for _, b := range rs.indexes {
		s.Readers += b.links
		s.Keys += len(b.find)
		s.Entries += b.entries
	}
	return s
}

// Computed yields the tables whose row functions were called in the last batch, and how often.
func (e *Engine) Computed(yield func(table string, calls int) bool) {
	for _, n := range e.nodes {
		if table, calls := n.computed(committing); calls > 0 && !yield(table, calls) {
			return
		}
	}
}

func (rs *rows[V]) computed(m mode) (table string, calls int) {
	if r := rs.ran[m]; r.batch == rs.engine.batches[m] {
		calls = r.last
	}
	return rs.name, calls
}

// Tried is how often row functions were called in the last Try.
func (e *Engine) Tried() (calls int) {
	for _, n := range e.nodes {
		_, tried := n.computed(trying)
		calls += tried
	}
	return calls
}

// Keys returns the sorted keys of the table of a name; ok is false if there is no such table.
func (e *Engine) Keys(table string) (keys []string, ok bool) {
	n, ok := e.named(table)
	if !ok {
		return nil, false
	}
	return n.keys(), true
}

// Value returns the row of a key, for a debug page; those who know the table use [Table.Get].
func (e *Engine) Value(table, key string) (v any, ok bool) {
	n, ok := e.named(table)
	if !ok {
		return nil, false
	}
	return n.value(key)
}

// Explain returns what a row read, its own parent first: table[key] for a row, table.index[key] for those found by
// an index, table[*] for a whole table. What was not there is marked as missing. A key without a row is explained too
// if the row function was called for it. It is false if the engine knows nothing of the table or the key.
func (e *Engine) Explain(table, key string) (deps []string, ok bool) {
	n, ok := e.named(table)
	if !ok {
		return nil, false
	}
	return n.explain(key)
}

func (e *Engine) named(table string) (node, bool) {
	for i, t := range e.graph.tables {
		if t.Name() == table {
			return e.nodes[i], true
		}
	}
	return nil, false
}

func (rs *rows[V]) keys() []string {
	keys := make([]string, 0, rs.count)
	for _, c := range rs.cells {
		if c.held {
			keys = append(keys, c.key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (rs *rows[V]) value(key string) (any, bool) {
	c, ok := rs.find[key]
	if !ok || !rs.cells[c].held {
		return nil, false
	}
	return rs.values[c], true
}

func (rs *rows[V]) explain(key string) ([]string, bool) {
	ts, c, ok := rs.worker.task(key)
	if !ok || ts == nil {
		return nil, ok
	}
	var deps []string
	for _, d := range ts.list[c].deps {
		deps = append(deps, rs.engine.sources[d.source].describe(d.cell))
	}
	slices.Sort(deps)
	return slices.Insert(deps, 0, ts.over.describe(c)), true
}

// describe names a cell for people.
func (s *source) describe(c int32) string {
	if s.name == s.engine.graph.tables[s.table].Name()+"[*]" {
		return s.name
	}
	text := s.name + "[" + s.cells[c].key + "]"
	if !s.cells[c].held {
		text += " (missing)"
	}
	return text
}
