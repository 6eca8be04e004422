package flow

import (
	"cmp"
	"fmt"
	"slices"
)

// worker brings a table up to date.
type worker interface {
	// waiting reports whether there is work.
	waiting() bool
	// run does the work, or a part of it if the engine gives up.
	run()
	// drop forgets work that was not done, after a Try.
	drop()
	// sweep gives back memory when nothing is left.
	sweep()
	// task returns the tasks of the table, nil for inputs, and the one that the row of a key comes from.
	task(key string) (ts *tasks, c int32, ok bool)
}

// staged is the worker of an input table: what was set since the last batch.
type staged[V any] struct {
	out   *rows[V]
	steps []step[V] // oldest first
}

func (w *staged[V]) stage(st step[V]) { w.steps = append(w.steps, st) }

func (w *staged[V]) waiting() bool { return len(w.steps) > 0 }

func (w *staged[V]) run() {
	slices.SortStableFunc(w.steps, func(a, b step[V]) int { return cmp.Compare(a.key, b.key) })
	for i, st := range w.steps {
		switch {
		case i+1 < len(w.steps) && w.steps[i+1].key == st.key:
		case st.has:
			w.out.engine.key = st.key
			w.out.put(st.key, st.now)
		default:
			w.out.engine.key = st.key
			w.out.remove(st.key)
		}
	}
	w.drop()
}

func (w *staged[V]) drop() { w.steps = emptied(w.steps) }

func (w *staged[V]) sweep() {}

func (w *staged[V]) task(key string) (*tasks, int32, bool) {
	c, ok := w.out.find[key]
	return nil, c, ok && w.out.cells[c].held
}

// single is the worker of a table with at most one row per task, under the task's key.
type single[V any] struct {
	tasks
	out  *rows[V]
	call func(c int32) (V, bool)
}

func (w *single[V]) waiting() bool { return len(w.dirty) > 0 }

func (w *single[V]) run() {
	for _, c := range w.sort() {
		if w.out.engine.givenUp() {
			return
		}
		if !w.over.cells[c].held {
			w.forget(c)
			w.out.remove(w.over.cells[c].key)
			continue
		}
		w.begin(c)
		w.out.called()
		v, ok := w.call(c)
		w.remember(c)
		if ok {
			w.out.put(w.over.cells[c].key, v)
		} else {
			w.out.remove(w.over.cells[c].key)
		}
	}
	w.clean()
}

func (w *single[V]) drop() { w.clean() }

func (w *single[V]) sweep() {
	if len(w.over.cells) == 0 {
		w.list = nil
	}
}

func (w *single[V]) task(key string) (*tasks, int32, bool) {
	c, ok := w.over.find[key]
	return &w.tasks, c, ok && int(c) < len(w.list) && w.list[c].live
}

// several is the worker of a table with any number of rows per task.
type several[V any] struct {
	tasks
	out    *rows[V]
	call   func(c int32) []Row[V]
	yields [][]int32 // by task: the cells of its rows
	owner  []int32   // by cell of a row: its task
	plan   []move[V] // of the batch at hand
}

// move is a key that a task of the batch yields, or yielded before.
type move[V any] struct {
	Row[V]
	task int32
	has  bool
}

func (w *several[V]) waiting() bool { return len(w.dirty) > 0 }

// run calls all dirty tasks before it touches a row, since keys may pass from one task to another.
func (w *several[V]) run() {
	order := w.sort()
	w.yields = reach(w.yields, slices.Max(order))
	for _, c := range order {
		if w.out.engine.givenUp() {
			return
		}
		for _, was := range w.yields[c] {
			w.plan = append(w.plan, move[V]{Row: Row[V]{Key: w.out.cells[was].key}, task: c})
		}
		if !w.over.cells[c].held {
			w.forget(c)
			continue
		}
		w.begin(c)
		w.out.called()
		for _, row := range w.call(c) {
			w.plan = append(w.plan, move[V]{Row: row, task: c, has: true})
		}
		w.remember(c)
	}
	slices.SortStableFunc(w.plan, func(a, b move[V]) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(count(b.has), count(a.has)))
	})
	yields := make(map[int32][]int32, len(order))
	for i, m := range w.plan {
		w.out.engine.key = m.Key
		again := i > 0 && w.plan[i-1].Key == m.Key
		switch {
		case m.has && again:
			w.twice(m.Key, w.plan[i-1].task, m.task)
		case m.has:
			yields[m.task] = append(yields[m.task], w.claim(m))
		case !again:
			w.out.remove(m.Key)
		}
	}
	for _, c := range order {
		w.yield(c, yields[c])
	}
	w.drop()
}

// claim puts a row of a task and returns its cell.
func (w *several[V]) claim(m move[V]) int32 {
	if c, ok := w.out.find[m.Key]; ok && w.out.cells[c].held && !w.list[w.owner[c]].dirty {
		w.twice(m.Key, w.owner[c], m.task)
	}
	c := w.out.put(m.Key, m.Value)
	w.owner = reach(w.owner, c)
	if was := w.owner[c]; was != m.task {
		w.owner[c] = m.task
		w.out.engine.undo(func() { w.owner[c] = was })
	}
	return c
}

// yield notes which rows a task has.
func (w *several[V]) yield(c int32, cells []int32) {
	if was := w.yields[c]; !slices.Equal(was, cells) {
		w.yields[c] = slices.Clip(cells)
		w.out.engine.undo(func() { w.yields[c] = was })
	}
}

func (w *several[V]) twice(key string, a, b int32) {
	panic(fmt.Sprintf("the row %q is yielded twice, for %q and for %q of %s",
		key, w.over.cells[a].key, w.over.cells[b].key, w.over.name))
}

func (w *several[V]) drop() {
	w.clean()
	w.plan = emptied(w.plan)
}

func (w *several[V]) sweep() {
	if len(w.over.cells) == 0 {
		w.list, w.yields = nil, nil
	}
	if len(w.out.cells) == 0 {
		w.owner = nil
	}
}

func (w *several[V]) task(key string) (*tasks, int32, bool) {
	if c, ok := w.out.find[key]; ok && w.out.cells[c].held {
		return &w.tasks, w.owner[c], true
	}
	c, ok := w.over.find[key]
	return &w.tasks, c, ok && int(c) < len(w.list) && w.list[c].live
}
