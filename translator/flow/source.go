package flow

import (
	"cmp"
	"slices"
)

// source is a set of things that can be read, each under a key: the rows of a table, the keys of an index, or a
// table as a whole. A thing has a cell when it is there, or when something asked for it and would have to know if
// it came.
type source struct {
	engine   *Engine
	id       int32
	table    int32 // the table it belongs to
	name     string
	children []*tasks // those with one task per thing that is there

	find    map[string]int32
	cells   []cell
	free    []int32
	unsure  []int32 // cells that may be of no more use; looked at when a batch is over
	stirred []int32 // cells to wake when the table has been computed

	links int // how many readers all cells have
}

// cell is what is known of one key of a source. Its number stays the same while it is held or read.
type cell struct {
	key     string
	readers []reader
	held    bool // the thing is there
	used    bool // the cell is not in the free list
	stirred bool // whether the cell must be woken after the table has been computed
}

// reader is a task that read a cell, and the place in the task's deps that says so.
type reader struct{ table, task, dep int32 }

// dep is a cell that a task read, and the place in the cell's readers that says so.
type dep struct{ source, cell, at int32 }

// newSource adds a source to an engine.
func newSource(e *Engine, table int32, name string) source {
	return source{engine: e, table: table, name: name, find: map[string]int32{}}
}

// register gives a source its number. It is called once the source has its final address.
func (s *source) register() {
	s.id = int32(len(s.engine.sources))
	s.engine.sources = append(s.engine.sources, s)
}

// intern returns the cell of a key, a new one if need be.
func (s *source) intern(key string) int32 {
	if c, ok := s.find[key]; ok {
		return c
	}
	var c int32
	if last := len(s.free) - 1; last >= 0 {
		c, s.free = s.free[last], s.free[:last]
	} else {
		c = int32(len(s.cells))
		s.cells = append(s.cells, cell{})
	}
	s.cells[c] = cell{key: key, used: true}
	s.find[key] = c
	s.doubt(c)
	return c
}

// hold reports whether the thing of a cell is there.
func (s *source) hold(c int32, held bool) {
	s.cells[c].held = held
	if !held {
		s.doubt(c)
	}
}

// doubt has a cell looked at when the batch is over, since it may be of no more use.
func (s *source) doubt(c int32) {
	s.unsure = append(s.unsure, c)
	s.engine.touched.add(s.table)
}

// stir has a cell woken once the table has been computed; a list changes many times in a batch.
func (s *source) stir(c int32) {
	if !s.cells[c].stirred {
		s.cells[c].stirred = true
		s.stirred = append(s.stirred, c)
	}
}

// calm wakes the cells that were stirred, or drops them if wake is false.
func (s *source) calm(wake bool) {
	for _, c := range s.stirred {
		s.cells[c].stirred = false
		if wake {
			s.wake(c)
		}
	}
	s.stirred = emptied(s.stirred)
}

// wake marks all that depends on a cell as in need of work.
func (s *source) wake(c int32) {
	for _, child := range s.children {
		child.mark(c)
	}
	for _, r := range s.cells[c].readers {
		s.engine.tasks[r.table].mark(r.task)
	}
}

// sweep forgets the cells that are neither held nor read.
func (s *source) sweep() {
	for _, c := range s.unsure {
		cl := &s.cells[c]
		if !cl.used || cl.held || len(cl.readers) > 0 {
			continue
		}
		delete(s.find, cl.key)
		*cl = cell{}
		s.free = append(s.free, c)
	}
	s.unsure = emptied(s.unsure)
	if len(s.find) == 0 && len(s.cells) > 0 {
		s.find, s.cells, s.free = map[string]int32{}, nil, nil
		for _, child := range s.children { // They give back what they keep for each cell.
			s.engine.touched.add(child.table)
		}
	}
}

// tasks are the calls of a derived table's function: one per thing of the source that the table is declared over,
// under the same cell number.
type tasks struct {
	over  *source
	table int32
	list  []task
	dirty []int32
	deps  int // how many deps all tasks have
	live  int // how many tasks have run and not been forgotten
}

// task is what one call of a table's function read. The thing that it is called with is not among its deps.
type task struct {
	deps  []dep
	dirty bool
	live  bool
}

func (ts *tasks) attach(over *source, table int32) {
	ts.over, ts.table = over, table
	over.children = append(over.children, ts)
	over.engine.tasks[table] = ts
}

func (ts *tasks) mark(c int32) {
	ts.list = reach(ts.list, c)
	if !ts.list[c].dirty {
		ts.list[c].dirty = true
		ts.dirty = append(ts.dirty, c)
		ts.over.engine.touched.add(ts.table)
	}
}

// sort puts the dirty tasks in the order of their keys.
func (ts *tasks) sort() []int32 {
	slices.SortFunc(ts.dirty, func(a, b int32) int { return cmp.Compare(ts.over.cells[a].key, ts.over.cells[b].key) })
	return ts.dirty
}

// clean says that nothing is dirty any more.
func (ts *tasks) clean() {
	for _, c := range ts.dirty {
		ts.list[c].dirty = false
	}
	ts.dirty = emptied(ts.dirty)
}

// begin notes that a task's function is about to be called.
func (ts *tasks) begin(c int32) {
	ts.over.engine.key = ts.over.cells[c].key
}

// remember keeps what a task that was just called has read.
func (ts *tasks) remember(c int32) {
	read := ts.over.engine.read.deps
	if len(read) > 1 {
		slices.SortFunc(read, dep.compare)
		read = slices.CompactFunc(read, dep.same)
	}
	ts.replace(c, read, true)
	ts.over.engine.read.deps = emptied(ts.over.engine.read.deps)
}

// forget drops a task.
func (ts *tasks) forget(c int32) { ts.replace(c, nil, false) }

func (ts *tasks) replace(c int32, read []dep, live bool) {
	t := &ts.list[c]
	if t.live == live && slices.EqualFunc(t.deps, read, dep.same) {
		return
	}
	was, lived := t.deps, t.live
	if len(read) > 0 {
		read = slices.Clone(read)
	} else {
		read = nil
	}
	ts.relink(c, read, live)
	if e := ts.over.engine; e.mode == trying {
		e.undo(func() { ts.relink(c, was, lived) })
	}
}

// relink puts deps in the place of those that a task has, at both ends. The slice becomes the task's own.
func (ts *tasks) relink(c int32, deps []dep, live bool) {
	e, t := ts.over.engine, &ts.list[c]
	for _, d := range t.deps {
		e.unlink(d)
	}
	ts.deps += len(deps) - len(t.deps)
	ts.live += count(live) - count(t.live)
	t.deps, t.live = deps, live
	for i := range deps {
		s := e.sources[deps[i].source]
		cl := &s.cells[deps[i].cell]
		deps[i].at = int32(len(cl.readers))
		cl.readers = append(cl.readers, reader{table: ts.table, task: c, dep: int32(i)})
		s.links++
	}
}

// unlink takes a task out of the readers of a cell. The last reader moves to its place.
func (e *Engine) unlink(d dep) {
	s := e.sources[d.source]
	cl := &s.cells[d.cell]
	last := len(cl.readers) - 1
	if int(d.at) != last {
		moved := cl.readers[last]
		cl.readers[d.at] = moved
		e.tasks[moved.table].list[moved.task].deps[moved.dep].at = d.at
	}
	s.links--
	cl.readers = cl.readers[:last]
	switch {
	case last == 0:
		cl.readers = nil
		s.doubt(d.cell)
	case cap(cl.readers) > 64 && last < cap(cl.readers)/4:
		cl.readers = slices.Clone(cl.readers)
	}
}

func (d dep) same(o dep) bool { return d.source == o.source && d.cell == o.cell }

func (d dep) compare(o dep) int {
	return cmp.Or(cmp.Compare(d.source, o.source), cmp.Compare(d.cell, o.cell))
}

// reach returns s made long enough to have an element i.
func reach[S ~[]E, E any](s S, i int32) S {
	if n := int(i) + 1 - len(s); n > 0 {
		s = append(s, make(S, n)...)
	}
	return s
}

// emptied returns s without elements, and without its memory if that is large.
func emptied[S ~[]E, E any](s S) S {
	if cap(s) > 1024 {
		return nil
	}
	clear(s)
	return s[:0]
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
