package audit

import "maps"

// need says which rules an object must be judged by: all rules, all rules that read the effective configuration, or the
// listed rules.
type need struct {
	all, effective bool
	rules          map[*rule]bool
}

func by(r *rule) need { return need{rules: map[*rule]bool{r: true}} }

// of reports whether the rule is one of them.
func (n *need) of(r *rule) bool {
	return n.all || n.effective && r.compiled.ReadsEffective() || n.rules[r]
}

// work is a queue of objects. An object that is added again keeps its place.
type work struct {
	order []*object
	needs map[*object]*need
	// added and taken are how many places there have been, and how many of them have been taken.
	added, taken int
}

func newWork() work { return work{needs: map[*object]*need{}} }

func (w *work) add(o *object, n need) {
	waiting := w.needs[o]
	if waiting == nil {
		w.needs[o] = &n
		w.order = append(w.order, o)
		w.added++
		return
	}
	waiting.all, waiting.effective = waiting.all || n.all, waiting.effective || n.effective
	switch {
	case waiting.all:
		waiting.rules = nil
	case waiting.rules == nil:
		waiting.rules = n.rules
	default:
		maps.Copy(waiting.rules, n.rules)
	}
}

// remove removes an object that is gone. Its place is taken in its turn.
func (w *work) remove(o *object) { delete(w.needs, o) }

// take takes at most n places, and calls a function with the objects there. It returns how many it took.
func (w *work) take(n int, take func(*object, *need)) int {
	n = min(n, len(w.order))
	for _, o := range w.order[:n] {
		if need := w.needs[o]; need != nil {
			delete(w.needs, o)
			take(o, need)
		}
	}
	clear(w.order[:n])
	w.order = w.order[n:]
	w.taken += n
	return n
}
