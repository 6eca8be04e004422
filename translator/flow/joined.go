package flow

import (
	"fmt"
	"slices"
)

// joined is the worker of a table that has the rows of several others.
type joined[V any] struct {
	out   *rows[V]
	parts []*part[V] // by parent
}

// part is a parent of a joined table. Its tasks call no function and read nothing, so the engine does not list them:
// they only tell which rows of the parent have changed.
type part[V any] struct {
	tasks
	in *rows[V]
}

func newPart[V any](in *rows[V], table int32) *part[V] {
	p := &part[V]{in: in, tasks: tasks{over: &in.source, table: table}}
	in.children = append(in.children, &p.tasks)
	return p
}

func (w *joined[V]) waiting() bool {
	return slices.ContainsFunc(w.parts, func(p *part[V]) bool { return len(p.dirty) > 0 })
}

// run gives each key that changed anywhere to the parent that has it now.
func (w *joined[V]) run() {
	var keys []string
	for _, p := range w.parts {
		for _, c := range p.dirty {
			keys = append(keys, p.in.cells[c].key)
		}
	}
	for _, key := range distinct(keys) {
		w.out.engine.key = key
		switch p, c := w.holder(key); {
		case p != nil:
			w.out.put(key, p.in.values[c])
		default:
			w.out.remove(key)
		}
	}
	w.drop()
}

// holder finds the parent that has a row of the key, nil if none has.
func (w *joined[V]) holder(key string) (holder *part[V], cell int32) {
	for _, p := range w.parts {
		c, ok := p.in.find[key]
		if !ok || !p.in.cells[c].held {
			continue
		}
		if holder != nil {
			panic(fmt.Sprintf("the row %q is in both %s and %s", key, holder.in.name, p.in.name))
		}
		holder, cell = p, c
	}
	return holder, cell
}

func (w *joined[V]) drop() {
	for _, p := range w.parts {
		p.clean()
	}
}

func (w *joined[V]) sweep() {
	for _, p := range w.parts {
		if len(p.over.cells) == 0 {
			p.list = nil
		}
	}
}

func (w *joined[V]) task(key string) (*tasks, int32, bool) {
	if p, c := w.holder(key); p != nil {
		p.list = reach(p.list, c)
		return &p.tasks, c, true
	}
	return nil, 0, false
}
