package flow

import "context"

// Try computes what a change would do, and puts everything back as it was. The change function calls [Set] and
// [Delete]; look then sees all tables as they would be, and what would have changed. No row is computed again for
// putting back: each step of the work notes its own undoing. Try panics if inputs are waiting to be committed, or
// inside another Try. Everything is put back even if change, look or a row function panics.
//
// When ctx ends, Try gives up before the next row, does not call look, and returns the error of ctx.
func (e *Engine) Try(ctx context.Context, change func(), look func(c *Changes)) error {
	e.expect("Try", idle)
	if i := e.touched.next(0); i >= 0 {
		panic("flow: Try is called while inputs of " + e.graph.tables[i].Name() + " wait for a Commit")
	}
	e.phase, e.mode = changing, trying
	e.tries++
	e.ended = ctx.Err
	defer e.restore()
	change()
	c := e.compute()
	if e.givenUp() {
		return e.cause
	}
	e.phase = looking
	look(c)
	return nil
}

// restore puts back what a Try has done.
func (e *Engine) restore() {
	for i := len(e.journal) - 1; i >= 0; i-- {
		e.journal[i]()
	}
	e.journal = emptied(e.journal)
	e.read.deps = emptied(e.read.deps) // of a row function that panicked
	e.tidy(func(n node) {
		n.drop()
		n.takeBatch()
		n.sweep()
	})
	e.phase, e.mode = idle, committing
	e.ended, e.cause = nil, nil
}
