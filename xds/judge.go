package xds

import (
	"maps"
	"regexp"
	"strconv"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// guiltyLimit is how many guilty parts a fleet remembers, unless Config.Remembered is set. If there are more, those
// that are in none of the fleet's resources any more are forgotten, at most once in forgetEvery. Most of them have been
// replaced by something that fails closed. If one comes back, Envoy rejects it again. If there is still no room, the
// proxy runs without the part, and the status of its resource says so.
const (
	guiltyLimit = 4096
	forgetEvery = time.Hour
)

// offer is what is sent in place of a resource, and the inputs of this decision.
type offer struct {
	raw, acked        *translator.Resource
	convicted, trials int
	out               *translator.Resource
}

// convict notes that the fleet's proxies reject a part, with the message of the first proxy. The note stays, so that no
// proxy of the fleet gets the same bytes again; when the owner of the part changes, its bytes change too. convict
// returns false if there is no room.
func (f *fleet) convict(hash, words string, now time.Time) bool {
	if _, known := f.guilty[hash]; known {
		return true
	}
	guilty := maps.Clone(f.guilty) // A new map, because reports have the previous one.
	if len(guilty) >= f.room && now.Sub(f.forgotten) >= forgetEvery {
		f.forgotten = now
		met := f.parts()
		maps.DeleteFunc(guilty, func(hash, _ string) bool { return !met[hash] })
	}
	if len(guilty) >= f.room {
		return false
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
	return true
}

// parts are the hashes of everything that proxies of the fleet could reject now.
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

// judge looks for the part of a rejected resource that the proxy means: one that it has not accepted before. If there
// are several suspects and the message identifies none of them, they are tried by halves.
func (s *session) judge(sub *subscription, res *translator.Resource, words string) {
	n := nameOf(res)
	switch n.Type {
	case resource.ClusterType, resource.SecretType:
		if !s.doubt(res) {
			s.convict(n, res.Version, words)
		}
		return
	case resource.RouteType, resource.ScopedRouteType, resource.ListenerType:
	default:
		return
	}
	sub.mark(n.Name)
	if n.Type == resource.ListenerType && s.detach(res) {
		return
	}
	t := s.trials[n]
	if t == nil {
		good, suspects := s.suspects(sub, res)
		told := told(words, res, suspects)
		switch h := sub.have[n.Name]; {
		case len(suspects) == 1:
			told = suspects
			fallthrough
		case h != nil && h.unknown:
			// The resource on the proxy is from an earlier control plane, so its content is unknown. A trial could
			// remove working routes. The proxy keeps the resource until something changes.
			for _, p := range told {
				s.convict(n, p.Hash, words)
			}
			return
		case len(suspects) == 0:
			return // The resource itself is rejected.
		}
		t = newTrial(res, good, suspects)
		s.trials[n] = t
		if !t.chosen {
			s.tried++
			return
		}
	}
	s.refine(n, t, res, words)
}

// convict notes that a part of the resource is guilty. If there is no room for it, it is parked: the proxy runs without
// it.
func (s *session) convict(n translator.Name, hash, words string) {
	if s.fleet.convict(hash, reason(words, n.Name), s.now) {
		return
	}
	if s.parked[n] == nil {
		s.parked[n] = map[string]bool{}
	}
	s.parked[n][hash] = true
	s.tried++
}

// suspects returns the parts that the proxy has not accepted before, and as good those that it has.
func (s *session) suspects(sub *subscription, res *translator.Resource) (good map[string]bool,
	suspects []translator.Part,
) {
	good = map[string]bool{}
	if h := sub.have[res.Name]; h != nil && h.acked != nil && !h.unknown {
		for _, p := range h.acked.Parts() {
			good[p.Hash] = true
		}
	}
	for _, p := range res.Parts() {
		if !s.rejectedPart(nameOf(res), p.Hash) && !good[p.Hash] {
			suspects = append(suspects, p)
		}
	}
	return good, suspects
}

// placed matches the position of a route in Envoy's validation messages.
var placed = regexp.MustCompile(`VirtualHosts\[(\d+)\].*?Routes\[(\d+)\]`)

// told selects the suspects that the message is about, by name or by position.
func told(words string, res *translator.Resource, suspects []translator.Part) (picked []translator.Part) {
	group, index := -1, -1
	if at := placed.FindStringSubmatch(words); at != nil {
		group, _ = strconv.Atoi(at[1])
		index, _ = strconv.Atoi(at[2])
	}
	for _, p := range suspects {
		byPlace := !p.Shared && p.Group == group && p.Index == index
		byName := p.Name != res.Name && mention(words, p.Name) >= 0 // Envoy always names the resource.
		if byPlace || byName {
			picked = append(picked, p)
		}
	}
	return picked
}

// rejectedPart reports whether a part of the resource must not be sent.
func (s *session) rejectedPart(n translator.Name, hash string) bool {
	_, guilty := s.fleet.guilty[hash]
	return guilty || s.parked[n][hash]
}

// offered is the resource that the proxy should get instead: without the guilty parts, and during a trial with one
// group of the untried ones. It is nil if nothing is left to send.
func (s *session) offered(sub *subscription, raw *translator.Resource) *translator.Resource {
	raw = s.detached(raw)
	n := nameOf(raw)
	if n.Type != resource.RouteType && n.Type != resource.ScopedRouteType && n.Type != resource.ListenerType {
		return raw
	}
	if len(s.fleet.guilty) == 0 && s.trials[n] == nil { // Parts are parked only while there are many guilty ones.
		return raw
	}
	h := sub.have[n.Name]
	for {
		if len(sub.flight) == 0 {
			s.prepare(n, raw)
		}
		t := s.trials[n]
		out := s.trim(raw, h, t)
		switch {
		case t == nil || len(sub.flight) > 0 || len(t.groups) == 0:
			return out
		case out != nil && s.rejected[n].version == out.Version:
			s.refine(n, t, out, s.rejected[n].words) // The other parts of the group have been removed meanwhile.
		case out != nil && !h.accepted(out):
			return out // After a rejection that names no resource of its response, it is sent again alone.
		default:
			t.next() // Nothing of the group is left in the resource.
			s.tried++
		}
	}
}

// trim makes the offer, or returns the existing one.
func (s *session) trim(raw *translator.Resource, h *held, t *trial) *translator.Resource {
	var acked *translator.Resource
	if h != nil && !h.unknown {
		acked = h.acked
	}
	n := nameOf(raw)
	if o := s.offers[n]; o.raw == raw && o.acked == acked && o.convicted == s.fleet.convicted && o.trials == s.tried {
		return o.out
	}
	tried, met := t.trying().hashes(), map[string]bool{}
	out := raw.Trim(func(hash string) bool {
		if s.parked[n][hash] {
			met[hash] = true
		}
		return !s.rejectedPart(n, hash) && (t == nil || t.good[hash] || tried[hash])
	}, acked)
	s.parked[n] = met
	if len(met) == 0 {
		delete(s.parked, n)
	}
	s.offers[n] = offer{raw: raw, acked: acked, convicted: s.fleet.convicted, trials: s.tried, out: out}
	return out
}
