// Package flow is the table engine: it keeps tables of rows up to date, row by row and one batch at a time.
//
// A [Graph] declares the tables. Input tables are written from outside. Each row of every other table is computed by a
// pure function from rows of tables declared before it. An [Engine] holds the rows of a graph and remembers what each
// row read, including keys that it looked for and did not find. [Engine.Commit] recomputes the rows whose inputs
// changed, in the order of declaration, so that one pass is enough: there are no cycles, and nobody sees a half-updated
// view. [Engine.Try] computes the effect of a change, except on outlets ([Table.Outlet]), and undoes everything. An
// [Oracle] computes the same tables from nothing by a plain loop; tests compare the two.
//
// Row functions must be pure: the same rows give the same result, with no clock, no I/O and no state between calls.
// Values must never be modified after they are set or returned; tables of large structs hold pointers. The equal
// function of a table reports whether two values mean the same. If a new row is equal to the old one, the change does
// not spread and the old value stays. The equal function should compare content, because [Diff] uses it across engines.
//
// An Engine belongs to one goroutine. Reads must come from that goroutine too, because lists are sorted when they are
// first read. The memory of an engine is that of the most rows it has held at once.
package flow
