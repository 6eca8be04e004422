package compare

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/translator"
)

// Compare says what differs between two sides.
func Compare(before, after *Side) (*Report, error) {
	a, err := modelOf(before)
	if err != nil {
		return nil, err
	}
	b, err := modelOf(after)
	if err != nil {
		return nil, err
	}
	c := &comparison{before: a, after: b}
	c.listeners()
	c.hosts()
	c.connections()
	c.policies()
	c.problems(before.Problems, after.Problems)
	return &Report{
		Listeners: c.listener.sorted(), Hosts: c.host.sorted(), Routes: c.route.sorted(), Policies: c.policy.sorted(),
		TLS: c.tls.sorted(), Problems: c.problem.sorted(),
	}, nil
}

// comparison is a Report in the making.
type comparison struct {
	before, after                               *model
	listener, host, route, policy, tls, problem changes
	// kept are the entries of both sides.
	kept []pair
}

// pair is an entry of both sides.
type pair struct{ before, after *entry }

// changes collects changes. Those that differ in their places only become one.
type changes struct {
	all []*Change
	by  map[string]*Change
}

func (c *changes) add(kind Kind, what, place string, details ...string) {
	key := strings.Join(append([]string{string(kind), what}, details...), "\x00")
	known := c.by[key]
	if known == nil {
		if c.by == nil {
			c.by = map[string]*Change{}
		}
		known = &Change{Kind: kind, What: what, Details: details}
		c.by[key], c.all = known, append(c.all, known)
	}
	if place != "" {
		known.Places = append(known.Places, place)
	}
}

func (c *changes) sorted() []Change {
	out := make([]Change, len(c.all))
	for i, change := range c.all {
		slices.Sort(change.Places)
		change.Places = slices.Compact(change.Places)
		out[i] = *change
	}
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(strings.Compare(a.What, b.What), strings.Compare(string(a.Kind), string(b.Kind)),
			slices.Compare(a.Details, b.Details))
	})
	return out
}

// both are the keys of two maps, sorted.
func both[V, W any](a map[string]V, b map[string]W) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// hosts compares the virtual hosts.
func (c *comparison) hosts() {
	all := slices.AppendSeq(slices.Collect(maps.Keys(c.before.hosts)), maps.Keys(c.after.hosts))
	slices.SortFunc(all, compareWhere)
	for _, at := range slices.Compact(all) {
		old, now := c.before.hosts[at], c.after.hosts[at]
		c.owners(at, old, now)
		c.entries(old, now)
	}
}

func compareWhere(a, b where) int {
	return cmp.Or(strings.Compare(a.fleet, b.fleet), strings.Compare(a.listener, b.listener), strings.Compare(a.host, b.host))
}

// owners compares which objects have a host.
func (c *comparison) owners(at where, old, now []*entry) {
	before, after := objectsOf(old), objectsOf(now)
	gone, come := without(before, after), without(after, before)
	switch what := at.host; {
	case len(old) == 0:
		c.host.add(Added, what, at.listener, "of "+strings.Join(after, ", "))
	case len(now) == 0:
		c.host.add(Removed, what, at.listener, "it was of "+strings.Join(before, ", "))
	case len(gone) > 0 && len(come) > 0:
		c.host.add(Changed, what, at.listener, fmt.Sprintf("it goes from %s to %s", strings.Join(gone, ", "),
			strings.Join(come, ", ")))
	case len(gone) > 0:
		c.host.add(Changed, what, at.listener, "it no longer has routes of "+strings.Join(gone, ", "))
	case len(come) > 0:
		c.host.add(Changed, what, at.listener, "it also has routes of "+strings.Join(come, ", "))
	}
}

func objectsOf(entries []*entry) (names []string) {
	for _, e := range entries {
		names = append(names, e.object)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// place is where an entry is.
func (e *entry) place() string { return e.listener + " " + e.host }

// what names an entry.
func (e *entry) what() string { return e.object + ": " + e.match }

// entries compares the routes of a virtual host.
func (c *comparison) entries(old, now []*entry) {
	known := make(map[string]*entry, len(old))
	for _, e := range old {
		known[e.key] = e
	}
	var pairs []pair
	for _, e := range now {
		was := known[e.key]
		if was == nil {
			c.route.add(Added, e.what(), e.place(), e.does()...)
			if e.shadow != nil {
				c.route.add(Shadowed, e.what(), e.place(), "it gets no request, because all go to "+e.shadow.what())
			}
			continue
		}
		delete(known, e.key)
		pairs = append(pairs, pair{was, e})
		if details := differences(was, e); len(details) > 0 {
			c.route.add(Changed, e.what(), e.place(), details...)
		}
		switch {
		case was.shadow == nil && e.shadow != nil:
			c.route.add(Shadowed, e.what(), e.place(), "it gets no request any more, because all go to "+e.shadow.what())
		case was.shadow != nil && e.shadow == nil:
			c.route.add(Reachable, e.what(), e.place(), "it gets requests, which "+was.shadow.what()+" got before")
		}
	}
	for _, e := range old {
		if known[e.key] != nil {
			c.route.add(Removed, e.what(), e.place(), e.does()...)
		}
	}
	c.moved(old, pairs)
	c.kept = append(c.kept, pairs...)
}

// moved reports routes that are tried earlier or later than others than before: the fewest that explain the new order.
func (c *comparison) moved(old []*entry, pairs []pair) {
	at := make(map[*entry]int, len(old))
	for i, e := range old {
		at[e] = i
	}
	positions := make([]int, len(pairs))
	for i, p := range pairs {
		positions[i] = at[p.before]
	}
	stays := increasing(positions)
	for i, p := range pairs {
		if stays[i] {
			continue
		}
		behind := "it is tried first"
		if i > 0 {
			behind = "it is tried behind " + pairs[i-1].after.what()
		}
		c.route.add(Moved, p.after.what(), p.after.place(), behind)
	}
}

// increasing marks a longest increasing part of distinct numbers.
func increasing(numbers []int) []bool {
	var ends []int // The indexes of the last numbers of the best parts of each length.
	previous := make([]int, len(numbers))
	for i, n := range numbers {
		length, _ := slices.BinarySearchFunc(ends, n, func(end, n int) int { return cmp.Compare(numbers[end], n) })
		previous[i] = -1
		if length > 0 {
			previous[i] = ends[length-1]
		}
		if length == len(ends) {
			ends = append(ends, i)
		} else {
			ends[length] = i
		}
	}
	marks := make([]bool, len(numbers))
	if len(ends) > 0 {
		for i := ends[len(ends)-1]; i >= 0; i = previous[i] {
			marks[i] = true
		}
	}
	return marks
}

// connections compares the routes that forward connections.
func (c *comparison) connections() {
	old, now := byObject(c.before.connections), byObject(c.after.connections)
	for _, key := range both(old, now) {
		was, is := old[key], now[key]
		switch {
		case was == nil:
			c.route.add(Added, is.Route.String(), is.Listener.Key, "forwards connections to "+backends(rulesOf(is)))
		case is == nil:
			c.route.add(Removed, was.Route.String(), was.Listener.Key, "forwarded connections to "+backends(rulesOf(was)))
		default:
			if from, to := backends(rulesOf(was)), backends(rulesOf(is)); from != to {
				c.route.add(Changed, is.Route.String(), is.Listener.Key, fmt.Sprintf("backends: %s, before: %s", to, from))
			}
			c.kept = append(c.kept, pair{connection(was), connection(is)})
		}
	}
}

// connection is a route that forwards connections as an entry, for the comparison of policies.
func connection(s *translator.Served) *entry {
	e := &entry{object: s.Route.String(), from: s, rule: &translator.ServedRule{}}
	if len(s.Rules) > 0 {
		e.rule = &s.Rules[0]
	}
	e.listener = s.Listener.Key
	return e
}

func byObject(all map[where][]*translator.Served) map[string]*translator.Served {
	by := map[string]*translator.Served{}
	for at, list := range all {
		for _, s := range list {
			by[at.listener+"|"+s.Route.String()] = s
		}
	}
	return by
}

func rulesOf(s *translator.Served) (all []translator.ServedBackend) {
	for _, rule := range s.Rules {
		all = append(all, rule.Backends...)
	}
	return all
}
