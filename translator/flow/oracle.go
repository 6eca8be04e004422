package flow

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Oracle computes every table of a graph from nothing, by a plain loop over the row functions. It shares no
// mechanism with [Engine], so that it can say what an engine should hold. It is for tests, and slow.
type Oracle struct {
	graph  *Graph
	tables []any // by table: *plain[V]
}

// plain is a table in an oracle.
type plain[V any] struct {
	rows    map[string]V
	sorted  []Row[V]
	indexes map[*Index[V]]map[string][]Row[V] // made when first asked for
}

// NewOracle returns an oracle whose tables are empty.
func NewOracle(g *Graph) *Oracle {
	g.frozen = true
	o := &Oracle{graph: g}
	for _, t := range g.tables {
		o.tables = append(o.tables, t.newPlain())
	}
	return o
}

// SetOracle gives a row of an input table; it counts from the next Run on.
func SetOracle[V any](o *Oracle, t *Table[V], key string, v V) {
	if t.loop != nil {
		panic(fmt.Sprintf("flow: SetOracle of %q in table %s, which is not an input", key, t.name))
	}
	plainOf(o, t).rows[key] = v
}

// Run computes every table out of what the input tables were given.
func (o *Oracle) Run() {
	for _, t := range o.graph.tables {
		t.fill(o)
	}
}

// Read returns a handle that reads all tables.
func (o *Oracle) Read() *Read { return &Read{oracle: o, level: math.MaxInt32} }

func (t *Table[V]) newPlain() any {
	return &plain[V]{rows: map[string]V{}, indexes: map[*Index[V]]map[string][]Row[V]{}}
}

func (t *Table[V]) fill(o *Oracle) {
	p := plainOf(o, t)
	if t.loop != nil {
		p.rows = map[string]V{}
		t.loop(&Read{oracle: o, level: t.id}, func(key string, v V) {
			if _, ok := p.rows[key]; ok {
				panic(fmt.Sprintf("flow: table %s: the row %q is yielded twice", t.name, key))
			}
			p.rows[key] = v
		})
	}
	p.sorted, p.indexes = nil, map[*Index[V]]map[string][]Row[V]{}
	for key, v := range p.rows {
		p.sorted = append(p.sorted, Row[V]{key, v})
	}
	slices.SortFunc(p.sorted, func(a, b Row[V]) int { return strings.Compare(a.Key, b.Key) })
}

func plainOf[V any](o *Oracle, t *Table[V]) *plain[V] {
	if o.graph != t.graph {
		panic("flow: table " + t.name + " is not of the oracle's graph")
	}
	return o.tables[t.id].(*plain[V])
}

func (p *plain[V]) all() []Row[V] { return slices.Clone(p.sorted) }

func (p *plain[V]) lookup(x *Index[V], key string) []Row[V] { return slices.Clone(p.index(x)[key]) }

// keysOf returns the sorted keys of an index.
func (p *plain[V]) keysOf(x *Index[V]) []string {
	var keys []string
	for key := range p.index(x) {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func (p *plain[V]) index(x *Index[V]) map[string][]Row[V] {
	if p.indexes[x] == nil {
		lists := map[string][]Row[V]{}
		for _, row := range p.sorted {
			seen := map[string]bool{}
			for _, key := range x.keys(row.Key, row.Value) {
				if !seen[key] {
					seen[key] = true
					lists[key] = append(lists[key], row)
				}
			}
		}
		p.indexes[x] = lists
	}
	return p.indexes[x]
}

// Diff returns the first differences between the tables of an engine and of an oracle, one a line, and "" if there
// are none. Rows are compared by the equal functions of their tables.
func Diff(e *Engine, o *Oracle) string {
	const most = 20
	var lines []string
	for _, t := range o.graph.tables {
		if len(lines) < most {
			lines = append(lines, t.diff(e, o, most-len(lines))...)
		}
	}
	return strings.Join(lines, "\n")
}

func (t *Table[V]) diff(e *Engine, o *Oracle, most int) (lines []string) {
	have, want := rowsOf(e, t), plainOf(o, t).rows
	keys := have.keys()
	for key := range want {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		if len(lines) == most {
			break
		}
		got, is := t.Get(e.Read(), key)
		expected, should := want[key]
		switch {
		case !is:
			lines = append(lines, fmt.Sprintf("%s[%s]: the engine has no row, the oracle has %+v", t.name, key, expected))
		case !should:
			lines = append(lines, fmt.Sprintf("%s[%s]: the engine has %+v, the oracle has no row", t.name, key, got))
		case !t.equal(got, expected):
			lines = append(lines, fmt.Sprintf("%s[%s]: the engine has %+v, the oracle has %+v", t.name, key, got, expected))
		}
	}
	return lines
}
