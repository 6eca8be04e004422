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
	// rulesRefused is how many rules of a route are looked for. When so many are found, the whole route fails closed (translator, quarantine.go).
	rulesRefused = 3
	// patience is how many refusals one tenant may cause in a trial before its routes are tried as a whole.
	patience = 16
)

// trial finds out which parts of a resource the proxy refuses, by sending the resource with some of them at a time. What is not sent yet stays
// on the proxy as it was. Parts of those who have caused fewer refusals are tried first, also those that come while the trial is on: so nobody
// waits for the trial of another tenant's parts. The number of refusals grows with the number of owners that have refused parts, not with that of
// the parts.
type trial struct {
	// good are the parts that the proxy has taken, by hash.
	good map[string]bool
	// groups are the parts that are still to be tried, oldest first but for the first, which is being tried once it is chosen. choices counts.
	groups  []group
	chosen  bool
	choices int
	// fresh are parts that have come since, by tenant, or of all tenants that have caused no refusal.
	fresh map[string]group
	// met are the parts that are known to the trial, in the version that it has seen last.
	met  map[string]bool
	seen *translator.Resource
	// troubles counts the refusals that a tenant has caused, rules are those that were refused of each owner.
	troubles map[string]int
	rules    map[string]map[string]bool
	// held are parts that are not tried any more, since what they belong to is going to fail closed. They count as new in the next version.
	held []string
}

// group are parts that are tried together.
type group []suspect

// suspect is a part that may be refused.
type suspect struct {
	hash string
	// rule is the rule of a route that it belongs to, owner the object, tenant its kind and namespace, or the Gateway. They are parts of its name.
	rule, owner, tenant string
}

func suspectOf(p translator.Part) suspect {
	rule, _, _ := strings.Cut(p.Name, "/match/")
	owner, _, _ := strings.Cut(rule, "/rule/")
	return suspect{hash: p.Hash, rule: rule, owner: owner, tenant: path.Dir(owner)}
}

func newTrial(res *translator.Resource, good map[string]bool, suspects []translator.Part) *trial {
	t := &trial{good: good, fresh: map[string]group{}, met: map[string]bool{}, troubles: map[string]int{}, rules: map[string]map[string]bool{}}
	t.admit(suspects)
	t.freshen()
	t.chosen, t.seen = true, res
	return t
}

// admit adds parts that the trial does not know.
func (t *trial) admit(parts []translator.Part) {
	for _, p := range parts {
		x, with := suspectOf(p), ""
		if t.troubles[x.tenant] > 0 {
			with = x.tenant
		}
		t.met[p.Hash] = true
		t.fresh[with] = append(t.fresh[with], x)
	}
}

// freshen makes groups of the parts that were admitted: at once of those of tenants that have caused no refusal, of others when nothing else is left.
func (t *trial) freshen() {
	for _, with := range slices.Sorted(maps.Keys(t.fresh)) {
		if with != "" && len(t.groups) > 0 {
			return
		}
		g := t.fresh[with]
		slices.SortStableFunc(g, func(a, b suspect) int { return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.owner, b.owner)) })
		t.groups = append(t.groups, g)
		delete(t.fresh, with)
	}
}

// trouble is how many refusals the tenant has caused who has caused most of those in a group.
func (t *trial) trouble(g group) (most int) {
	for _, x := range g {
		most = max(most, t.troubles[x.tenant])
	}
	return most
}

// hashes are those of the parts in the group.
func (g group) hashes() map[string]bool {
	hashes := make(map[string]bool, len(g))
	for _, x := range g {
		hashes[x.hash] = true
	}
	return hashes
}

// trying is the group that is being tried, nil if none is.
func (t *trial) trying() group {
	if t == nil || len(t.groups) == 0 {
		return nil
	}
	return t.groups[0]
}

// next gives up the group that was tried.
func (t *trial) next() {
	if len(t.groups) > 0 {
		t.groups = t.groups[1:]
	}
	t.chosen = false
}

// choose takes a group to be tried: in turn the one with the least trouble, and the one that has waited longest.
func (t *trial) choose() {
	t.chosen = true
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

// alone tells whether all in the group have the same, such as their owner.
func (g group) alone(of func(suspect) string) bool {
	return !slices.ContainsFunc(g, func(x suspect) bool { return of(x) != of(g[0]) })
}

func tenantOf(x suspect) string { return x.tenant }
func ownerOf(x suspect) string  { return x.owner }
func hashOf(x suspect) string   { return x.hash }

// halves splits a group near its middle, where the tenant changes; within one tenant where the owner changes, within one owner anywhere.
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

// patient is the group, or its owners one by one if their tenant has caused too many refusals.
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

// refine takes note that the group of parts on trial was refused, in the resource that was sent.
func (s *session) refine(n translator.Name, t *trial, res *translator.Resource, words string) {
	s.tried++
	if len(t.groups) == 0 {
		return // What was refused had been sent before the trial came to its end.
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

// told picks the parts of the group that the message is about.
func (g group) told(words string, res *translator.Resource) (picked group) {
	hashes := g.hashes()
	parts := slices.DeleteFunc(res.Parts(), func(p translator.Part) bool { return !hashes[p.Hash] })
	for _, p := range told(words, res, parts) {
		picked = append(picked, suspectOf(p))
	}
	return picked
}

// condemn holds a part against the fleet, and has nothing more of its rule tried, nor of its owner once enough of its rules are refused.
func (s *session) condemn(n translator.Name, t *trial, guilty suspect, words string) {
	rules := t.rules[guilty.owner]
	if rules[guilty.rule] || len(rules) >= rulesRefused {
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
			spent := x.rule == guilty.rule || x.owner == guilty.owner && len(rules) >= rulesRefused
			if spent {
				t.held = append(t.held, x.hash)
			}
			return spent
		})
	}
	t.groups = slices.DeleteFunc(t.groups, func(g group) bool { return len(g) == 0 }) // None is being tried now.
}

// passed takes note that a resource was acknowledged.
func (s *session) passed(k *kind, res *translator.Resource) {
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
	k.mark(n.Name)
}

// prepare admits what is new in the resource, chooses the group that is tried next, and ends a trial of which nothing is left.
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
			return t.met[p.Hash] || t.good[p.Hash] || s.refusedPart(n, p.Hash)
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
