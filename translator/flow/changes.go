package flow

import (
	"cmp"
	"slices"
)

// Changes says which rows a batch has changed. It is good until the next Commit, or the end of Try's look.
type Changes struct {
	engine *Engine
	tables []changedTable // those with changes, in order
}

// changedTable is a table with changes.
type changedTable struct {
	table int32
	rows  any // *changed[V]
}

// changed are the changed rows of a table, sorted by key.
type changed[V any] struct {
	keys []string
	rows []before[V]
}

// before is the value a row had, if there was a row.
type before[V any] struct {
	value V
	ok    bool
}

func (c *changed[V]) add(st step[V]) {
	c.keys = append(c.keys, st.key)
	c.rows = append(c.rows, before[V]{st.was, st.had})
}

// Changed returns the sorted keys of a table, inputs too, whose rows changed, appeared or went. The slice must not be
// written to.
func Changed[V any](c *Changes, t *Table[V]) []string {
	if ch := changedOf(c, t); ch != nil {
		return ch.keys
	}
	return nil
}

// Before returns the value that a row had before the batch. For a row that has not changed this is the value it has.
func Before[V any](c *Changes, t *Table[V], key string) (V, bool) {
	if ch := changedOf(c, t); ch != nil {
		if i, found := slices.BinarySearch(ch.keys, key); found {
			return ch.rows[i].value, ch.rows[i].ok
		}
	}
	return t.Get(c.engine.Read(), key)
}

// Empty reports whether the batch has changed no row of any table.
func (c *Changes) Empty() bool {
	return len(c.tables) == 0
}

func changedOf[V any](c *Changes, t *Table[V]) *changed[V] {
	rowsOf(c.engine, t) // the table is of the same graph
	i, found := slices.BinarySearchFunc(c.tables, t.id, func(c changedTable, id int32) int { return cmp.Compare(c.table, id) })
	if !found {
		return nil
	}
	return c.tables[i].rows.(*changed[V])
}

func (rs *rows[V]) takeBatch() any {
	if rs.batch == nil {
		return nil
	}
	batch := rs.batch
	rs.batch = nil
	return batch
}
