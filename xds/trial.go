package xds

import (
	"maps"
	"regexp"
	"strconv"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// guiltyLimit bounds what a fleet remembers of refused parts: when there are more, those that its resources do not have any more are forgotten. If
// they all have, something else is wrong.
const guiltyLimit = 4096

// trial finds out which parts of a resource the proxy refuses, by sending the resource with some of them at a time. What is not sent yet stays
// on the proxy as it was.
type trial struct {
	// good are the parts that the proxy has taken, by hash.
	good map[string]bool
	// groups are the parts that are still to be tried; the first is being tried.
	groups [][]string
}

// offer is what is sent in place of a resource, and what that was concluded from.
type offer struct {
	raw, acked        *translator.Resource
	convicted, trials int
	out               *translator.Resource
}

// convict notes that the fleet's proxies refuse a part, in the words of the first that did. It stays noted, so that no proxy of the fleet
// gets the same bytes again; once its owner changes, its bytes are others.
func (f *fleet) convict(hash, words string) {
	if _, known := f.guilty[hash]; known {
		return
	}
	guilty := maps.Clone(f.guilty) // A new map, since reports hold the one before.
	if len(guilty) >= guiltyLimit {
		met := f.parts()
		maps.DeleteFunc(guilty, func(hash, _ string) bool { return !met[hash] })
	}
	if len(guilty) >= guiltyLimit {
		return
	}
	if guilty == nil {
		guilty = map[string]string{}
	}
	guilty[hash] = brief(words)
	f.guilty = guilty
	f.convicted++
	for s := range f.streams {
		s.session.news = true
		s.session.compareAll()
		s.wake()
	}
}

// parts are the hashes of all that proxies of the fleet could refuse now.
func (f *fleet) parts() map[string]bool {
	met := map[string]bool{}
	for url, resources := range f.resources {
		for _, r := range resources {
			switch url {
			case resource.ClusterType, resource.SecretType:
				met[r.Version] = true
			case resource.RouteType, resource.ScopedRouteType, resource.ListenerType:
				for _, p := range r.Parts() {
					met[p.Hash] = true
				}
			}
		}
	}
	return met
}

// judge looks for the part of a refused resource that the proxy means: one that it has not taken before. If several come into question and
// the message tells none of them, they are tried by halves.
func (s *session) judge(k *kind, res *translator.Resource, words string) {
	n := nameOf(res)
	switch n.Type {
	case resource.ClusterType, resource.SecretType:
		if !s.doubt(res) {
			s.fleet.convict(res.Version, reason(words, res.Name))
		}
		return
	case resource.RouteType, resource.ScopedRouteType, resource.ListenerType:
	default:
		return
	}
	k.mark(n.Name)
	if n.Type == resource.ListenerType && s.detach(res) {
		return
	}
	said := reason(words, res.Name)
	if t := s.trials[n]; t != nil {
		s.refine(n, t, said)
		return
	}
	good, suspects := s.suspects(k, res)
	told := told(words, res, suspects)
	switch h := k.have[n.Name]; {
	case len(told) > 0:
		s.convictAll(told, said)
	case len(suspects) == 1:
		s.convictAll(suspects, said)
	case len(suspects) == 0 || h != nil && h.unknown:
		// It is the resource itself that is refused; or what the proxy runs is not known, as an earlier control plane sent it, so that a trial
		// would take from it what it serves. It keeps what it has until something changes.
	default:
		hashes := make([]string, len(suspects))
		for i, p := range suspects {
			hashes[i] = p.Hash
		}
		s.trials[n] = &trial{good: good, groups: halves(hashes)}
		s.tried++
	}
}

func (s *session) convictAll(parts []translator.Part, words string) {
	for _, p := range parts {
		s.fleet.convict(p.Hash, words)
	}
}

// suspects are the parts that the proxy has not taken before, and good those that it has.
func (s *session) suspects(k *kind, res *translator.Resource) (good map[string]bool, suspects []translator.Part) {
	good = map[string]bool{}
	if h := k.have[res.Name]; h != nil && h.acked != nil && !h.unknown {
		for _, p := range h.acked.Parts() {
			good[p.Hash] = true
		}
	}
	for _, p := range res.Parts() {
		if _, guilty := s.fleet.guilty[p.Hash]; !guilty && !good[p.Hash] {
			suspects = append(suspects, p)
		}
	}
	return good, suspects
}

// placed is how Envoy's messages of validation tell a route: by its place.
var placed = regexp.MustCompile(`VirtualHosts\[(\d+)\].*?Routes\[(\d+)\]`)

// told picks the suspects that the message is about, by name or by place.
func told(words string, res *translator.Resource, suspects []translator.Part) (picked []translator.Part) {
	group, index := -1, -1
	if at := placed.FindStringSubmatch(words); at != nil {
		group, _ = strconv.Atoi(at[1])
		index, _ = strconv.Atoi(at[2])
	}
	for _, p := range suspects {
		byPlace := p.Group == group && p.Index == index
		byName := p.Name != res.Name && mention(words, p.Name) >= 0 // Envoy always names the resource.
		if byPlace || byName {
			picked = append(picked, p)
		}
	}
	return picked
}

func halves(names []string) [][]string {
	half := len(names) / 2
	return [][]string{names[:half:half], names[half:]}
}

// refine takes note that the group of parts on trial was refused.
func (s *session) refine(n translator.Name, t *trial, words string) {
	group := t.groups[0]
	t.groups = t.groups[1:]
	if len(group) > 1 {
		t.groups = append(halves(group), t.groups...)
	} else {
		s.fleet.convict(group[0], words)
	}
	s.step(n, t)
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
	t.groups = t.groups[1:]
	k.mark(n.Name)
	s.step(n, t)
}

// step ends a trial of which nothing is left to try.
func (s *session) step(n translator.Name, t *trial) {
	s.tried++
	if len(t.groups) == 0 {
		delete(s.trials, n)
	}
}

// offered is what the proxy is to get in place of the resource: without the parts that the fleet refuses, and while a trial is on, with one
// group of the untried ones. It is nil if nothing is left to send.
func (s *session) offered(k *kind, raw *translator.Resource) *translator.Resource {
	raw = s.detached(raw)
	n := nameOf(raw)
	if len(s.fleet.guilty) == 0 && s.trials[n] == nil || n.Type != resource.RouteType && n.Type != resource.ScopedRouteType && n.Type != resource.ListenerType {
		return raw
	}
	h := k.have[n.Name]
	for {
		t := s.trials[n]
		out := s.trim(raw, h, t)
		switch {
		case t == nil || len(k.flight) > 0:
			return out
		case out != nil && s.refused[n].version == out.Version:
			s.refine(n, t, s.refused[n].words) // What else was in the group has gone meanwhile.
		case out != nil && !h.current(out):
			return out
		default:
			t.groups = t.groups[1:] // Nothing of the group is left in the resource.
			s.step(n, t)
		}
	}
}

// trim makes the offer, or takes the one that was made.
func (s *session) trim(raw *translator.Resource, h *held, t *trial) *translator.Resource {
	var acked *translator.Resource
	if h != nil && !h.unknown {
		acked = h.acked
	}
	n := nameOf(raw)
	if o := s.offers[n]; o.raw == raw && o.acked == acked && o.convicted == s.fleet.convicted && o.trials == s.tried {
		return o.out
	}
	group := map[string]bool{}
	if t != nil {
		for _, hash := range t.groups[0] {
			group[hash] = true
		}
	}
	out := raw.Trim(func(hash string) bool {
		if _, guilty := s.fleet.guilty[hash]; guilty {
			return false
		}
		return t == nil || t.good[hash] || group[hash]
	}, acked)
	s.offers[n] = offer{raw: raw, acked: acked, convicted: s.fleet.convicted, trials: s.tried, out: out}
	return out
}
