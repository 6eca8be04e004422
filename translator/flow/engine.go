package flow

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// Engine holds the rows of a graph and keeps them up to date. See the package comment for who may use it.
type Engine struct {
	graph   *Graph
	nodes   []node    // by table
	tasks   []*tasks  // by table; nil for inputs
	sources []*source // by number
	touched tableSet  // tables that have work, or something to tidy up, in the batch at hand

	phase phase
	mode  mode
	read  Read   // of the row function being called
	table int32  // the table at work
	key   string // the row at work

	batches [2]int       // by mode: how many batches were computed
	tries   int          // how many times Try was called
	journal []func()     // what puts back what the Try at hand has done, oldest first
	ended   func() error // says why the Try at hand is to be given up; nil outside of Try
	cause   error        // why it was given up
}

// node is a table in an engine, whatever its rows are.
type node interface {
	compute(m mode)
	drop()
	sweep()
	takeBatch() any
	keys() []string
	stats() TableStats
	computed(m mode) (table string, calls int)
	value(key string) (any, bool)
	explain(key string) ([]string, bool)
}

// phase is what an engine is doing.
type phase int

const (
	idle      phase = iota // waiting for Set, Delete, Commit and Try
	changing               // in the change function of Try: takes Set and Delete
	computing              // in Commit or Try: calls row functions
	looking                // in the look function of Try: takes no change
)

// mode reports whether what the engine does is to stay.
type mode int

const (
	committing mode = iota
	trying
)

// NewEngine returns an engine whose tables are empty.
func NewEngine(g *Graph) *Engine {
	g.frozen = true
	e := &Engine{graph: g, tasks: make([]*tasks, len(g.tables)), touched: newTableSet(len(g.tables))}
	e.read = Read{engine: e, tracked: true}
	for _, t := range g.tables {
		e.nodes = append(e.nodes, t.newRows(e))
	}
	for _, s := range e.sources {
		if g.outlets[s.table] && len(s.children) > 0 {
			panic(fmt.Sprintf("flow: a table is derived from %s, which is an outlet", s.name))
		}
	}
	return e
}

// rowsOf returns a table's rows in an engine.
func rowsOf[V any](e *Engine, t *Table[V]) *rows[V] {
	if e.graph != t.graph {
		panic("flow: table " + t.name + " is not of the engine's graph")
	}
	return e.nodes[t.id].(*rows[V])
}

// Set makes v the value of a key of an input table, from the next Commit on. The last of several calls counts.
func Set[V any](e *Engine, t *Table[V], key string, v V) {
	stage(e, t, "Set", step[V]{key: key, now: v, has: true})
}

// Delete takes away the row of a key of an input table, from the next Commit on. No row is fine too.
func Delete[V any](e *Engine, t *Table[V], key string) {
	stage(e, t, "Delete", step[V]{key: key})
}

func stage[V any](e *Engine, t *Table[V], call string, st step[V]) {
	e.expect(call, idle, changing)
	w, ok := rowsOf(e, t).worker.(*staged[V])
	if !ok {
		panic(fmt.Sprintf("flow: %s of %q in table %s, which is not an input", call, st.key, t.name))
	}
	e.touched.add(t.id)
	w.stage(st)
}

// Commit brings every table up to date with what was set and deleted since the last Commit, and returns what
// changed. If a row function panics, Commit panics with a [*RowPanic], and the engine is of no more use.
func (e *Engine) Commit() *Changes {
	e.expect("Commit", idle)
	c := e.compute()
	e.tidy(node.sweep)
	e.phase = idle
	return c
}

// compute computes the tables that have work, in order. What a table changes is work for later tables only.
func (e *Engine) compute() *Changes {
	e.phase = computing
	defer e.blame()
	e.batches[e.mode]++
	c := &Changes{engine: e}
	for i := e.touched.next(0); i >= 0; i = e.touched.next(i + 1) {
		if e.mode == trying && e.graph.outlets[i] {
			continue
		}
		n := e.nodes[i]
		e.table, e.key, e.read.level = i, "", i
		n.compute(e.mode)
		if e.givenUp() {
			break // The table may be computed in part.
		}
		if batch := n.takeBatch(); batch != nil {
			c.tables = append(c.tables, changedTable{i, batch})
		}
	}
	return c
}

// tidy ends a batch: it calls a function for each table that had a part in it.
func (e *Engine) tidy(table func(node)) {
	for i := e.touched.next(0); i >= 0; i = e.touched.next(i + 1) {
		table(e.nodes[i])
	}
	clear(e.touched)
}

// givenUp reports whether the Try at hand is to end before its time. A Commit never is.
func (e *Engine) givenUp() bool {
	if e.cause == nil && e.ended != nil {
		e.cause = e.ended()
	}
	return e.cause != nil
}

// undo notes how to put back what was just done, if it is not to stay.
func (e *Engine) undo(undo func()) {
	if e.mode == trying {
		e.journal = append(e.journal, undo)
	}
}

// expect panics if a call comes while the engine does something else.
func (e *Engine) expect(call string, phases ...phase) {
	if slices.Contains(phases, e.phase) {
		return
	}
	during := map[phase]string{
		changing: "in the change function of a Try", computing: "in a row function, or after one has panicked",
		looking: "in the look function of a Try",
	}
	panic("flow: " + call + " is called " + during[e.phase])
}

// RowPanic is what Commit and Try panic with when a function of the graph has panicked.
type RowPanic struct {
	Table, Key string
	Value      any    // what it panicked with
	Stack      []byte // where
}

// Error names the table and the key.
func (p *RowPanic) Error() string {
	return fmt.Sprintf("flow: table %s, row %q: %v\n%s", p.Table, p.Key, p.Value, p.Stack)
}

// Unwrap returns the error that the function panicked with, if it was one.
func (p *RowPanic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

func (e *Engine) blame() {
	if v := recover(); v != nil {
		panic(&RowPanic{Table: e.graph.tables[e.table].Name(), Key: e.key, Value: v, Stack: debug.Stack()})
	}
}

// ran is the work that a table has done.
type ran struct {
	batch       int           // the number of the last batch in which the table had work
	last, total int           // calls of the row function, in that batch and in all
	took        time.Duration // in that batch
}

func (rs *rows[V]) called() {
	r := &rs.ran[rs.engine.mode]
	r.last++
	r.total++
}

func (rs *rows[V]) drop() {
	rs.worker.drop()
	rs.calm(false)
}

func (rs *rows[V]) compute(m mode) {
	if !rs.worker.waiting() {
		return
	}
	r := &rs.ran[m]
	r.batch, r.last = rs.engine.batches[m], 0
	start := time.Now()
	rs.worker.run()
	rs.calm(true)
	r.took = time.Since(start)
}
