// Package flow is the table engine: it keeps tables of rows up to date, row by row and one batch at a time.
//
// A [Graph] declares the tables. Input tables are written from outside; each row of every other table is computed
// by a pure function from rows of tables declared before it. An [Engine] holds the rows of a graph and remembers
// what each row read, also what it looked for and did not find. [Engine.Commit] recomputes the rows one of whose
// answers changed, in the order of declaration, so that one pass settles everything: there are no cycles, and
// nobody sees a half-updated view. [Engine.Try] computes what a change would do and puts everything back. An
// [Oracle] computes the same tables from nothing by a plain loop; tests compare the two.
//
// Row functions must be pure: the same rows read give the same answer, with no clock, no I/O and nothing kept
// between calls. Values, once set or returned, must never be written to; tables of large structs hold pointers. A
// table's equal function says when two values mean the same; an equal row stops a change from spreading, and the
// earlier value stays. It should compare content, since [Diff] uses it across engines.
//
// An Engine belongs to one goroutine. Even its reads must come from that goroutine, as lists are put in order when
// they are first asked for. The memory that an engine keeps is that of the most rows it has held at once.
package flow
