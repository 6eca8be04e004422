package flow

import (
	"fmt"
	"slices"
	"strings"
)

// inspected is what tests see of a table beyond its rows.
type inspected interface {
	verify() []string
	dump() []string
	snapshot() map[string]any
}

// Verify recounts everything that an engine keeps and returns what does not fit together, one a line.
func Verify(e *Engine) string {
	var wrong []string
	if len(e.journal) != 0 || e.phase != idle || e.mode != committing {
		wrong = append(wrong, "the engine is not at rest")
	}
	for _, s := range e.sources {
		wrong = append(wrong, s.verify()...)
	}
	for i, n := range e.nodes {
		wrong = append(wrong, n.(inspected).verify()...)
		if ts := e.tasks[i]; ts != nil {
			wrong = append(wrong, ts.verify()...)
		}
	}
	return strings.Join(wrong, "\n")
}

// Dump writes down everything that an engine keeps.
func Dump(e *Engine) string {
	var lines []string
	for _, s := range e.sources {
		for _, c := range s.cells {
			if c.used {
				lines = append(lines, fmt.Sprintf("cell %s[%s] held %v readers %v", s.name, c.key, c.held, e.readers(c)))
			}
		}
	}
	for i, n := range e.nodes {
		lines = append(lines, n.(inspected).dump()...)
		if ts := e.tasks[i]; ts != nil {
			for c, t := range ts.list {
				if t.live {
					lines = append(lines, fmt.Sprintf("task %s of %s: %d deps", n.stats().Name, ts.over.describe(int32(c)),
						len(t.deps)))
				}
			}
		}
		s := n.stats()
		lines = append(lines, fmt.Sprint("counts ", s.Name, s.Rows, s.Deps, s.Readers, s.Keys, s.Entries, s.Computed,
			s.Total))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Snapshot returns the values of all tables.
func Snapshot(e *Engine) map[string]map[string]any {
	all := map[string]map[string]any{}
	for i, n := range e.nodes {
		all[e.graph.tables[i].Name()] = n.(inspected).snapshot()
	}
	return all
}

// Before returns the keys that a batch has changed, by table, and the values they had; nil if there was no row.
func (c *Changes) Before() map[string]map[string]any {
	all := map[string]map[string]any{}
	for _, t := range c.tables {
		keys, rows := t.rows.(interface {
			list() ([]string, []any)
		}).list()
		if !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != len(keys) {
			panic(fmt.Sprintf("keys not sorted or not distinct: %q", keys))
		}
		name := c.engine.graph.tables[t.table].Name()
		all[name] = map[string]any{}
		for i, key := range keys {
			all[name][key] = rows[i]
		}
	}
	return all
}

// Slots returns how many elements all arrays of an engine have.
func Slots(e *Engine) (n int) {
	for i := range e.nodes {
		if ts := e.tasks[i]; ts != nil {
			n += len(ts.list)
		}
	}
	for _, s := range e.sources {
		n += len(s.cells)
	}
	return n
}

func (c *changed[V]) list() (keys []string, rows []any) {
	for _, b := range c.rows {
		if b.ok {
			rows = append(rows, b.value)
		} else {
			rows = append(rows, nil)
		}
	}
	return c.keys, rows
}

func (e *Engine) readers(c cell) []string {
	var names []string
	for _, r := range c.readers {
		names = append(names, e.tasks[r.table].over.describe(r.task)+" for "+e.graph.tables[r.table].Name())
	}
	slices.Sort(names)
	return names
}

func (s *source) verify() (wrong []string) {
	links, used := 0, 0
	for i, c := range s.cells {
		if c.used != !slices.Contains(s.free, int32(i)) {
			wrong = append(wrong, fmt.Sprintf("%s: cell %d: used %v does not agree with the free list", s.name, i, c.used))
		}
		if !c.used {
			continue
		}
		used++
		links += len(c.readers)
		if found, ok := s.find[c.key]; !ok || found != int32(i) {
			wrong = append(wrong, fmt.Sprintf("%s[%s]: the key does not find its cell", s.name, c.key))
		}
		if !c.held && len(c.readers) == 0 {
			wrong = append(wrong, fmt.Sprintf("%s[%s]: kept, but nobody needs it", s.name, c.key))
		}
		for at, r := range c.readers {
			d := s.engine.tasks[r.table].list[r.task].deps[r.dep]
			if d != (dep{s.id, int32(i), int32(at)}) {
				wrong = append(wrong, fmt.Sprintf("%s[%s]: reader %d does not agree", s.name, c.key, at))
			}
		}
	}
	if links != s.links || used != len(s.find) || len(s.unsure)+len(s.stirred) > 0 {
		wrong = append(wrong, fmt.Sprintf("%s: %d links, counted %d; %d keys, counted %d; %d unsure, %d stirred",
			s.name, s.links, links, len(s.find), used, len(s.unsure), len(s.stirred)))
	}
	return wrong
}

func (ts *tasks) verify() (wrong []string) {
	deps, live := 0, 0
	for i, t := range ts.list {
		deps += len(t.deps)
		live += count(t.live)
		if t.dirty || t.live != (i < len(ts.over.cells) && ts.over.cells[i].held) || !t.live && len(t.deps) > 0 {
			wrong = append(wrong, fmt.Sprintf("task %d over %s: %+v", i, ts.over.name, t))
		}
		for at, d := range t.deps {
			r := ts.over.engine.sources[d.source].cells[d.cell].readers[d.at]
			if r != (reader{ts.table, int32(i), int32(at)}) {
				wrong = append(wrong, fmt.Sprintf("task %d over %s: dep %d does not agree", i, ts.over.name, at))
			}
		}
	}
	if deps != ts.deps || live != ts.live || len(ts.dirty) > 0 {
		wrong = append(wrong, fmt.Sprintf("tasks over %s: %d deps, counted %d; %d live, counted %d; %d dirty",
			ts.over.name, ts.deps, deps, ts.live, live, len(ts.dirty)))
	}
	return wrong
}

func (rs *rows[V]) verify() (wrong []string) {
	if n := len(rs.keys()); n != rs.count {
		wrong = append(wrong, fmt.Sprintf("%s: %d rows, counted %d", rs.name, rs.count, n))
	}
	if rs.whole.kept {
		if got, want := rs.whole.list.peek(), rs.fresh(); got != want || rs.whole.list.size != rs.count {
			wrong = append(wrong, fmt.Sprintf("%s as a whole: %s, should be %s", rs.name, got, want))
		}
	}
	if n := len(rs.whole.list.edits); n > 65+rs.whole.list.size/2 {
		wrong = append(wrong, fmt.Sprintf("%s as a whole: %d edits wait", rs.name, n))
	}
	for _, b := range rs.indexes {
		entries := 0
		for c := range b.lists {
			entries += b.lists[c].size
			if n := len(b.lists[c].edits); n > 64+b.lists[c].size {
				wrong = append(wrong, fmt.Sprintf("%s: %d edits wait", b.name, n))
			}
			if held := b.lists[c].size > 0; c < len(b.cells) && held != b.cells[c].held {
				wrong = append(wrong, fmt.Sprintf("%s[%s]: held %v", b.name, b.cells[c].key, !held))
			}
		}
		if entries != b.entries {
			wrong = append(wrong, fmt.Sprintf("%s: %d entries, counted %d", b.name, b.entries, entries))
		}
	}
	return wrong
}

func (rs *rows[V]) dump() (lines []string) {
	for key, v := range rs.snapshot() {
		_, c, ok := rs.worker.task(key)
		lines = append(lines, fmt.Sprintf("row %s[%s] = %+v, by task %d %v", rs.name, key, v, c, ok))
	}
	for _, b := range rs.indexes {
		for c, cl := range b.cells {
			if cl.held {
				lines = append(lines, fmt.Sprintf("list %s[%s] = %s", b.name, cl.key, b.lists[c].peek()))
			}
		}
	}
	if w, ok := rs.worker.(*several[V]); ok {
		for c, cells := range w.yields {
			if len(cells) > 0 {
				lines = append(lines, fmt.Sprintf("yields %s of %s: %v", rs.name, w.over.cells[c].key, cells))
			}
		}
	}
	return append(lines, fmt.Sprintf("whole %s kept %v = %s", rs.name, rs.whole.kept, rs.whole.list.peek()))
}

func (rs *rows[V]) snapshot() map[string]any {
	all := map[string]any{}
	for i, c := range rs.cells {
		if c.held {
			all[c.key] = rs.values[i]
		}
	}
	return all
}

func (rs *rows[V]) fresh() string {
	var list []Row[V]
	for _, key := range rs.keys() {
		list = append(list, Row[V]{key, rs.values[rs.find[key]]})
	}
	return fmt.Sprint(list)
}

// peek returns what a list is without putting it in order.
func (o ordered[V]) peek() string {
	o.edits = slices.Clone(o.edits)
	return fmt.Sprint(o.all())
}
