package xds

import (
	"fmt"
	"slices"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// memory is what a proxy may remember of secrets that it refused. Envoy keeps the bytes of a secret before it tries them. It then acknowledges the
// same bytes without having them in effect, on other streams too, and whatever is built with the secret afterwards is refused because of it: a listener
// with all its filter chains, a cluster, or a second certificate of the same filter chain.
type memory struct {
	// spoilt are the secrets of which the proxy may hold refused bytes.
	spoilt map[translator.Name]spoiling
	// doubts are refused secrets and clusters that may be refused only because of a spoilt secret. They are tried again.
	doubts map[translator.Name]*translator.Resource
}

// spoiling tells what listeners do about a spoilt secret.
type spoiling int

const (
	attached  spoiling = iota + 1
	detached           // Listeners are sent without it.
	acquitted          // Listeners are refused without it, too, so they are sent with it.
)

func newMemory() memory {
	return memory{spoilt: map[translator.Name]spoiling{}, doubts: map[translator.Name]*translator.Resource{}}
}

// told is what the proxy is told of a resource: in the bytes that it has taken already, or in bytes that it cannot have seen.
func (s *session) told(k *kind, h *held, res *translator.Resource, seq uint64) *translator.Resource {
	switch {
	case !k.remembered:
		return res
	case h.acked != nil && h.acked.Version == res.Version && !h.unknown:
		return h.acked
	default:
		return res.Again(fmt.Sprintf("%s-%d", s.salt, seq))
	}
}

// remember notes that the proxy holds a secret that it refused, until what it had before is put back, if that is known.
func (s *session) remember(k *kind, res *translator.Resource) {
	s.memory.spoilt[nameOf(res)] = attached
	if h := k.have[res.Name]; h != nil && h.acked != nil && !h.unknown && h.acked.Version != res.Version {
		k.restores = append(k.restores, h.acked)
	}
	s.detachRefused()
}

// restore fills the response with something that is to be put back; it is false if there is nothing.
func (s *session) restore(r *response) bool {
	k := r.kind
	for len(k.restores) > 0 && len(r.resources) == 0 {
		res := k.restores[0]
		k.restores = k.restores[1:]
		if h := k.have[res.Name]; h != nil && h.acked == res && k.subscribed(res.Name) {
			r.resources = append(r.resources, res)
		}
	}
	return len(r.resources) > 0
}

// restored tells that what the proxy has taken is an older version, put back in place of the latest one, which it refused.
func (s *session) restored(n translator.Name, res *translator.Resource) bool {
	latest := s.fleet.get(n)
	return n.Type == resource.SecretType && latest != nil && latest.Version != res.Version && s.refused[n].version == latest.Version
}

// settleMemory notes that the proxy has taken the resource in some version, or has let it go.
func (s *session) settleMemory(n translator.Name) {
	how := s.memory.spoilt[n]
	delete(s.memory.spoilt, n)
	delete(s.memory.doubts, n)
	if how == 0 {
		return
	}
	if listeners := s.kind(resource.ListenerType); listeners != nil && how == detached {
		listeners.compare = true
	}
	s.resolveDoubts(false)
}

// suspect tells whether the proxy may hold bytes of a secret that it refused, on this stream or on an earlier one.
func (s *session) suspect(n translator.Name) bool {
	if how := s.memory.spoilt[n]; how != 0 {
		return how != acquitted
	}
	k := s.kind(resource.SecretType)
	if n.Type != resource.SecretType || k == nil || !k.names[n.Name] || s.fleet.get(n) != nil {
		return false
	}
	h := k.have[n.Name]
	return h == nil || h.acked == nil || h.unknown
}

// detach has a refused listener sent without the secrets that may be why it is refused. It is false if there are none, or if it was sent so already.
func (s *session) detach(res *translator.Resource) bool {
	found := false
	for _, n := range s.latestNeeds(nameOf(res)) {
		switch {
		case s.memory.spoilt[n] == detached:
			s.memory.spoilt[n] = acquitted
		case s.suspect(n):
			s.memory.spoilt[n], found = detached, true
		}
	}
	return found
}

// latestNeeds are what the latest version of a resource needs.
func (s *session) latestNeeds(n translator.Name) []translator.Name {
	if latest := s.fleet.get(n); latest != nil {
		return latest.Needs
	}
	return nil
}

// detached is the listener without the secrets that it must do without.
func (s *session) detached(raw *translator.Resource) *translator.Resource {
	if raw.Type != resource.ListenerType || len(s.memory.spoilt) == 0 {
		return raw
	}
	without := map[translator.Name]bool{}
	for _, n := range raw.Needs {
		if s.memory.spoilt[n] == detached {
			without[n] = true
		}
	}
	if len(without) == 0 {
		return raw
	}
	return raw.Detached(without)
}

// detachRefused has listeners that were refused sent without the secrets that have come to be suspect since.
func (s *session) detachRefused() {
	k := s.kind(resource.ListenerType)
	for n := range s.refused {
		if n.Type != resource.ListenerType {
			continue
		}
		for _, need := range s.latestNeeds(n) {
			if s.suspect(need) && s.memory.spoilt[need] != detached {
				s.memory.spoilt[need] = detached
				k.mark(n.Name)
			}
		}
	}
}

// doubt tells whether a refused secret or cluster may be refused because of another secret, and notes it.
func (s *session) doubt(res *translator.Resource) bool {
	if !s.entangled(res) {
		return false
	}
	s.memory.doubts[nameOf(res)] = res
	return true
}

func (s *session) entangled(res *translator.Resource) bool {
	if res.Type == resource.ClusterType {
		return slices.ContainsFunc(res.Needs, s.suspect)
	}
	for _, k := range s.kinds {
		if !k.brings {
			continue
		}
		for _, h := range k.have {
			for _, user := range []*translator.Resource{h.acked, h.sent} {
				if user != nil && s.joined(user, nameOf(res)) {
					return true
				}
			}
		}
	}
	return false
}

// joined tells whether the resource needs the secret along with another one that may be refused.
func (s *session) joined(user *translator.Resource, n translator.Name) bool {
	return slices.ContainsFunc(user.Needs, func(other translator.Name) bool {
		return other != n && s.suspect(other) && user.Joins(n.Name, other.Name)
	})
}

// resolveDoubts judges what was refused along with something else once it stands alone. What the proxy has built with a secret meanwhile tells of
// that secret: a listener that is taken has tried it, and one that is taken only without it was refused because of it. Others are sent again.
// (Envoy would refuse the secret again as long as connections of an earlier filter chain with both secrets are open.)
func (s *session) resolveDoubts(built bool) {
	for n, res := range s.memory.doubts {
		k, latest := s.kind(n.Type), s.fleet.get(n)
		if k == nil || latest == nil || latest.Version != res.Version {
			delete(s.memory.doubts, n)
			continue
		}
		if s.entangled(res) {
			continue
		}
		delete(s.memory.doubts, n)
		switch {
		case n.Type != resource.SecretType || !built:
			k.mark(n.Name).asked = true
		case s.memory.spoilt[n] == detached:
			s.convict(n, res.Version, s.refused[n].words)
		case s.inUse(n):
			k.have[n.Name] = &held{acked: res, sent: res}
			delete(s.memory.spoilt, n)
			s.absolve(n)
		}
	}
}
