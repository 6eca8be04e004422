package flow

import (
	"slices"
	"strings"
)

// rows is a table in an engine.
type rows[V any] struct {
	source
	decl    *Table[V]
	values  []V // by cell
	count   int
	indexes []*buckets[V]
	whole   whole[V]
	worker  worker
	batch   *changed[V] // nil while the batch has changed nothing
	ran     [2]ran      // by Engine.mode
}

func (t *Table[V]) newRows(e *Engine) node {
	rs := &rows[V]{source: newSource(e, t.id, t.name), decl: t}
	rs.register()
	rs.whole.source = newSource(e, t.id, t.name+"[*]")
	rs.whole.register()
	for _, x := range t.indexes {
		b := &buckets[V]{source: newSource(e, t.id, x.name), decl: x}
		b.register()
		rs.indexes = append(rs.indexes, b)
	}
	if t.work == nil {
		rs.worker = &staged[V]{out: rs}
	} else {
		rs.worker = t.work(e, rs)
	}
	return rs
}

// step is the change of one row.
type step[V any] struct {
	key      string
	was, now V
	had, has bool
}

// put makes v the value of a key and returns its cell.
func (rs *rows[V]) put(key string, v V) int32 {
	c := rs.intern(key)
	st := step[V]{key: key, now: v, has: true}
	if st.had = rs.cells[c].held; st.had {
		st.was = rs.values[c]
		if rs.decl.equal(st.was, v) {
			return c
		}
	}
	rs.replace(c, st)
	return c
}

// remove takes away the row of a key, if there is one.
func (rs *rows[V]) remove(key string) {
	if c, ok := rs.find[key]; ok && rs.cells[c].held {
		rs.replace(c, step[V]{key: rs.cells[c].key, was: rs.values[c], had: true})
	}
}

func (rs *rows[V]) replace(c int32, st step[V]) {
	if rs.batch == nil {
		rs.batch = &changed[V]{}
	}
	rs.batch.add(st)
	rs.assign(c, st.now, st.has)
	if e := rs.engine; e.mode == trying {
		e.undo(func() { rs.assign(c, st.was, st.had) })
	}
	for _, b := range rs.indexes {
		b.move(st)
	}
	rs.whole.move(st)
	rs.wake(c)
}

// assign sets or clears the value of a cell and nothing else.
func (rs *rows[V]) assign(c int32, v V, held bool) {
	rs.values = reach(rs.values, c)
	rs.values[c] = v
	rs.count += count(held) - count(rs.cells[c].held)
	rs.hold(c, held)
}

func (rs *rows[V]) sweep() {
	rs.source.sweep()
	if len(rs.cells) == 0 {
		rs.values = nil
	}
	rs.whole.sweep()
	for _, b := range rs.indexes {
		b.sweep()
		if len(b.cells) == 0 {
			b.lists = nil
		}
	}
	rs.worker.sweep()
}

// calm ends the work on the table: who reads its lists is woken, or is not, after a Try that failed.
func (rs *rows[V]) calm(wake bool) {
	rs.whole.calm(wake)
	for _, b := range rs.indexes {
		b.calm(wake)
	}
}

// all returns the rows sorted by key.
func (rs *rows[V]) all() []Row[V] {
	w := &rs.whole
	if !w.kept {
		w.save(rs.engine)
		list := make([]Row[V], 0, rs.count)
		for c, cl := range rs.cells {
			if cl.held {
				list = append(list, Row[V]{cl.key, rs.values[c]})
			}
		}
		slices.SortFunc(list, Row[V].compare)
		w.list, w.kept = ordered[V]{rows: list, size: len(list), saved: w.list.saved}, true
	}
	return w.list.all()
}

// buckets is an index in an engine: for each key of the index the rows found under it.
type buckets[V any] struct {
	source
	decl    *Index[V]
	lists   []ordered[V] // by cell
	entries int          // how many rows are in all lists
}

// move follows the change of a row.
func (b *buckets[V]) move(st step[V]) {
	var was, now []string
	if st.had {
		was = distinct(b.decl.keys(st.key, st.was))
	}
	if st.has {
		now = distinct(b.decl.keys(st.key, st.now))
	}
	for len(was) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(was) > 0 && was[0] < now[0]:
			b.edit(was[0], st, false, -1)
			was = was[1:]
		case len(was) == 0 || now[0] < was[0]:
			b.edit(now[0], st, true, 1)
			now = now[1:]
		default:
			b.edit(now[0], st, true, 0)
			was, now = was[1:], now[1:]
		}
	}
}

// edit puts a row into the list of a key, or takes it out, which makes the list longer by more.
func (b *buckets[V]) edit(key string, st step[V], in bool, more int) {
	c := b.intern(key)
	b.lists = reach(b.lists, c)
	list := &b.lists[c]
	if e := b.engine; list.save(e) {
		saved := *list
		e.undo(func() { b.assign(c, saved) })
	}
	next := *list
	next.edit(st, in, more)
	b.assign(c, next)
	b.stir(c)
}

// assign sets the list of a cell and nothing else.
func (b *buckets[V]) assign(c int32, list ordered[V]) {
	b.entries += list.size - b.lists[c].size
	if list.size == 0 {
		list = ordered[V]{saved: list.saved}
	}
	b.lists[c] = list
	b.hold(c, list.size > 0)
}

// whole is a table as a list, kept from when it was first asked for until too much has changed since.
type whole[V any] struct {
	source
	list ordered[V]
	kept bool
}

// move follows the change of a row.
func (w *whole[V]) move(st step[V]) {
	if c, ok := w.find[""]; ok {
		w.stir(c)
	}
	if !w.kept {
		return
	}
	w.save(w.engine)
	if len(w.list.edits) > fewEdits+w.list.size/2 {
		w.list, w.kept = ordered[V]{saved: w.list.saved}, false
		return
	}
	w.list.edit(st, st.has, count(st.has)-count(st.had))
}

func (w *whole[V]) save(e *Engine) {
	if list, kept := w.list, w.kept; w.list.save(e) {
		list.edits = slices.Clip(list.edits)
		e.undo(func() { w.list, w.kept = list, kept })
	}
}

// ordered is a list of rows sorted by key. Changes wait until the list is asked for.
type ordered[V any] struct {
	rows  []Row[V]  // sorted; never written to, so whoever has it may keep it
	edits []step[V] // changes not yet in rows, oldest first; has says whether the row is in the list
	size  int       // how many rows the list has with its edits
	saved int       // the number of the last Try that noted how the list was
}

func (o *ordered[V]) edit(st step[V], in bool, more int) {
	var none V
	st.was, st.has = none, in
	if !in {
		st.now = none
	}
	o.edits = append(o.edits, st)
	o.size += more
	if len(o.edits) > fewEdits+o.size {
		o.all()
	}
}

// fewEdits is how many edits may wait while a Try adds to them, which copies them.
const fewEdits = 64

// save reports whether a Try is about to change the list for the first time. The edits that are there are then safe
// from being written over.
func (o *ordered[V]) save(e *Engine) bool {
	if e.mode != trying || o.saved == e.tries {
		return false
	}
	o.saved = e.tries
	if len(o.edits) > fewEdits {
		o.all()
	}
	o.edits = slices.Clip(o.edits)
	return true
}

// all returns the rows. Edits are sorted in and the rows between them copied, which costs one allocation.
func (o *ordered[V]) all() []Row[V] {
	if len(o.edits) == 0 {
		return o.rows
	}
	slices.SortStableFunc(o.edits, func(a, b step[V]) int { return strings.Compare(a.key, b.key) })
	merged, rest := make([]Row[V], 0, o.size), o.rows
	for i, ed := range o.edits {
		if i+1 < len(o.edits) && o.edits[i+1].key == ed.key {
			continue
		}
		n, found := slices.BinarySearchFunc(rest, ed.key, func(r Row[V],
			key string,
		) int {
			return strings.Compare(r.Key, key)
		})
		merged = append(merged, rest[:n]...)
		rest = rest[n+count(found):]
		if ed.has {
			merged = append(merged, Row[V]{ed.key, ed.now})
		}
	}
	o.rows, o.edits = append(merged, rest...), nil
	return o.rows
}

func (r Row[V]) compare(o Row[V]) int { return strings.Compare(r.Key, o.Key) }

// distinct returns the keys sorted, each once.
func distinct(keys []string) []string {
	if len(keys) < 2 {
		return keys
	}
	keys = slices.Clone(keys)
	slices.Sort(keys)
	return slices.Compact(keys)
}
