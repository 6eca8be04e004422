package xds

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"gatehouse/translator"
)

const (
	// rulesRejected is how many rejected rules of a route are searched for. When that many are found, the whole route
	// fails closed (translator, quarantine.go).
	rulesRejected = 3
	// patience is how many rejections one tenant may cause in a trial before its routes are tried as a whole.
	patience = 16
)

// trial finds out which parts of a resource the proxy rejects, by sending the resource with some of them at a time.
// Parts that are not sent yet stay on the proxy as they were. Parts of tenants that have caused fewer rejections are
// tried first, including parts that arrive during the trial: so nobody waits for the trial of another tenant's parts.
// The number of rejections grows with the number of owners of rejected parts, not with the number of parts.
type trial struct {
	// good are the parts that the proxy has accepted, by hash.
	good map[string]bool
	// groups are the parts that are still to be tried, oldest first. The first group is different: it is being tried
	// when chosen is set. choices counts the choices.
	groups  []group
	chosen  bool
	choices int
	// fresh are parts that have arrived since, by tenant; parts of all tenants without rejections are together under
	// the empty name.
	fresh map[string]group
	// met are the parts that the trial knows, from the last version that it has seen.
	met  map[string]bool
	seen *translator.Resource
	// troubles counts the rejections that a tenant has caused; rules are the rejected rules of each owner.
	troubles map[string]int
	rules    map[string]map[string]bool
	// held are parts that are not tried any more, because their rule or route is going to fail closed. They count as
	// new in the next version.
	held []string
}

// group are parts that are tried together.
type group []suspect

// suspect is a part that may be rejected.
type suspect struct {
	hash string
	// rule is the rule of a route that contains it, owner the object, tenant its kind and namespace, or the Gateway.
	// They are parts of its name.
	rule, owner, tenant string
	// shared reports whether the others rest on it.
	shared bool
}

func suspectOf(p translator.Part) suspect {
	rule, _, _ := strings.Cut(p.Name, "/match/")
	owner, _, _ := strings.Cut(rule, "/rule/")
	return suspect{hash: p.Hash, rule: rule, owner: owner, tenant: path.Dir(owner), shared: p.Shared}
}

// newTrial starts with all suspects in one group, which was rejected. If the others rest on some of them, it starts
// with these instead, and nothing is known about them yet.
func newTrial(res *translator.Resource, good map[string]bool, suspects []translator.Part) *trial {
	t := &trial{
		good: good, fresh: map[string]group{}, met: map[string]bool{}, troubles: map[string]int{},
		rules: map[string]map[string]bool{},
	}
	t.chosen, t.seen = true, res
	t.admit(suspects)
	t.freshen()
	return t
}

// admit adds parts that the trial does not know. Parts on which others rest are tried next: without them nothing new
// is sent.
func (t *trial) admit(parts []translator.Part) {
	var shared group
	for _, p := range parts {
		x, with := suspectOf(p), ""
		if t.troubles[x.tenant] > 0 {
			with = x.tenant
		}
		t.met[p.Hash] = true
		if p.Shared {
			shared = append(shared, x)
			continue
		}
		t.fresh[with] = append(t.fresh[with], x)
	}
	if len(shared) > 0 {
		t.groups, t.chosen = slices.Insert(t.groups, 0, shared), false
	}
}

// freshen makes groups of the admitted parts: at once for tenants without rejections, and for others when nothing else
// is left.
func (t *trial) freshen() {
	for _, with := range slices.Sorted(maps.Keys(t.fresh)) {
		if with != "" && len(t.groups) > 0 {
			return
		}
		g := t.fresh[with]
		slices.SortStableFunc(g, func(a, b suspect) int {
			return cmp.Or(cmp.Compare(a.tenant, b.tenant),
				cmp.Compare(a.owner, b.owner))
		})
		t.groups = append(t.groups, g)
		delete(t.fresh, with)
	}
}

// trouble is the highest number of rejections of a tenant in a group.
func (t *trial) trouble(g group) (most int) {
	for _, x := range g {
		most = max(most, t.troubles[x.tenant])
	}
	return most
}

// hashes are the hashes of the parts in the group.
func (g group) hashes() map[string]bool {
	hashes := make(map[string]bool, len(g))
	for _, x := range g {
		hashes[x.hash] = true
	}
	return hashes
}

// trying is the group that is being tried, nil if there is none.
func (t *trial) trying() group {
	if t == nil || len(t.groups) == 0 {
		return nil
	}
	return t.groups[0]
}

// next drops the group that was tried.
func (t *trial) next() {
	if len(t.groups) > 0 {
		t.groups = t.groups[1:]
	}
	t.chosen = false
}

// choose chooses a group to try: alternately the one with the least trouble, and the one that has waited longest.
func (t *trial) choose() {
	t.chosen = true
	if i := slices.IndexFunc(t.groups, func(g group) bool { return g[0].shared }); i >= 0 {
		g := t.groups[i]
		t.groups = slices.Insert(slices.Delete(t.groups, i, i+1), 0, g)
		return
	}
	t.choices++
	if t.choices%2 == 0 {
		return
	}
	best := 0
	for i, g := range t.groups {
		if t.trouble(g) < t.trouble(t.groups[best]) {
			best = i
		}
	}
	g := t.groups[best]
	t.groups = slices.Insert(slices.Delete(t.groups, best, best+1), 0, g)
}

// alone reports whether all parts of the group have the same value, such as their owner.
func (g group) alone(of func(suspect) string) bool {
	return !slices.ContainsFunc(g, func(x suspect) bool { return of(x) != of(g[0]) })
}

func tenantOf(x suspect) string { return x.tenant }
func ownerOf(x suspect) string  { return x.owner }
func hashOf(x suspect) string   { return x.hash }

// halves splits a group near its middle, between tenants; within one tenant between owners, within one owner anywhere.
func (g group) halves() []group {
	for _, of := range []func(suspect) string{tenantOf, ownerOf, hashOf} {
		best := 0
		for i := 1; i < len(g); i++ {
			if of(g[i]) != of(g[i-1]) && (best == 0 || abs(2*i-len(g)) < abs(2*best-len(g))) {
				best = i
			}
		}
		if best > 0 {
			return []group{g[:best:best], g[best:]}
		}
	}
	return []group{g}
}

func abs(n int) int { return max(n, -n) }

// patient returns the group, or one group for each owner if their tenant has caused too many rejections.
func (t *trial) patient(g group) (groups []group) {
	if !g.alone(tenantOf) || t.troubles[g[0].tenant] <= patience {
		return []group{g}
	}
	for start, i := 0, 1; i <= len(g); i++ {
		if i == len(g) || g[i].owner != g[start].owner {
			groups = append(groups, g[start:i:i])
			start = i
		}
	}
	return groups
}

// refine notes that the group of parts on trial was rejected, in the resource that was sent.
func (s *session) refine(n translator.Name, t *trial, res *translator.Resource, words string) {
	s.tried++
	if len(t.groups) == 0 {
		return // The rejected version had been sent before the trial ended.
	}
	g := t.groups[0]
	t.next()
	one := g.alone(tenantOf)
	guilty := g.told(words, res)
	switch {
	case len(guilty) > 0:
		t.troubles[guilty[0].tenant]++
	case one:
		t.troubles[g[0].tenant]++
	}
	switch {
	case len(guilty) > 0:
		g = slices.DeleteFunc(slices.Clone(g), func(x suspect) bool { return slices.Contains(guilty, x) })
		if len(g) > 0 {
			t.groups = append(t.patient(g), t.groups...)
		}
	case one && g.alone(ownerOf) && t.troubles[g[0].tenant] > patience:
		guilty = g
	case len(g) == 1:
		guilty = g
	default:
		for _, half := range g.halves() {
			t.groups = append(t.groups, t.patient(half)...)
		}
	}
	for _, x := range guilty {
		s.condemn(n, t, x, words)
	}
}

// told selects the parts of the group that the message is about.
func (g group) told(words string, res *translator.Resource) (picked group) {
	hashes := g.hashes()
	parts := slices.DeleteFunc(res.Parts(), func(p translator.Part) bool { return !hashes[p.Hash] })
	for _, p := range told(words, res, parts) {
		picked = append(picked, suspectOf(p))
	}
	return picked
}

// condemn convicts a part, and stops the trial of the other parts of its rule, and of its owner when enough of its
// rules are rejected.
func (s *session) condemn(n translator.Name, t *trial, guilty suspect, words string) {
	rules := t.rules[guilty.owner]
	if rules[guilty.rule] || len(rules) >= rulesRejected {
		t.held = append(t.held, guilty.hash)
		return
	}
	if rules == nil {
		rules = map[string]bool{}
		t.rules[guilty.owner] = rules
	}
	rules[guilty.rule] = true
	s.convict(n, guilty.hash, words)
	for i, g := range t.groups {
		t.groups[i] = slices.DeleteFunc(slices.Clone(g), func(x suspect) bool {
			spent := x.rule == guilty.rule || x.owner == guilty.owner && len(rules) >= rulesRejected
			if spent {
				t.held = append(t.held, x.hash)
			}
			return spent
		})
	}
	t.groups = slices.DeleteFunc(t.groups, func(g group) bool { return len(g) == 0 }) // No group is being tried now.
}

// passed notes that a resource was acknowledged.
func (s *session) passed(sub *subscription, res *translator.Resource) {
	n := nameOf(res)
	t := s.trials[n]
	if t == nil {
		return
	}
	for _, p := range res.Parts() {
		t.good[p.Hash] = true
	}
	t.next()
	s.tried++
	sub.mark(n.Name)
}

// prepare admits new parts of the resource, chooses the next group to try, and ends a trial with nothing left.
func (s *session) prepare(n translator.Name, raw *translator.Resource) {
	t := s.trials[n]
	if t == nil {
		return
	}
	if t.seen != raw {
		t.seen = raw
		for _, hash := range t.held {
			delete(t.met, hash)
		}
		t.held = nil
		t.admit(slices.DeleteFunc(raw.Parts(), func(p translator.Part) bool {
			return t.met[p.Hash] || t.good[p.Hash] || s.rejectedPart(n, p.Hash)
		}))
		s.tried++
	}
	if !t.chosen {
		t.freshen()
	}
	if len(t.groups) == 0 {
		if len(t.held) == 0 {
			delete(s.trials, n)
			s.tried++
		}
		return
	}
	if !t.chosen {
		t.choose()
		s.tried++
	}
}
