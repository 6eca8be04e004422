package xds

import (
	"fmt"
	"slices"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// memory is what a proxy may remember of secrets that it rejected. Envoy stores the bytes of a secret before it tries
// them. It then acknowledges the same bytes without using them, on other streams too. It also rejects everything that
// is built with the secret afterwards: a listener with all its filter chains, a cluster, or a second certificate of the
// same filter chain.
type memory struct {
	// spoilt are the secrets whose rejected bytes the proxy may still have.
	spoilt map[translator.Name]spoiling
	// doubts are rejected secrets and clusters whose rejection may be caused by a spoilt secret. They are tried again.
	doubts map[translator.Name]*translator.Resource
}

// spoiling is how listeners treat a spoilt secret.
type spoiling int

const (
	attached  spoiling = iota + 1
	detached           // Listeners are sent without it.
	acquitted          // Listeners are rejected without it too, so they are sent with it.
)

func newMemory() memory {
	return memory{spoilt: map[translator.Name]spoiling{}, doubts: map[translator.Name]*translator.Resource{}}
}

// told is the resource in the form that is sent: in bytes that the proxy has already accepted, or in bytes that it
// cannot have seen.
func (s *session) told(sub *subscription, h *held, res *translator.Resource, seq uint64) *translator.Resource {
	switch {
	case !sub.remembered:
		return res
	case h.acked != nil && h.acked.Version == res.Version && !h.unknown:
		return h.acked
	default:
		return res.Again(fmt.Sprintf("%s-%d", s.salt, seq))
	}
}

// remember notes that the proxy has a secret that it rejected. The previous version is restored, if it is known.
func (s *session) remember(sub *subscription, res *translator.Resource) {
	s.memory.spoilt[nameOf(res)] = attached
	if h := sub.have[res.Name]; h != nil && h.acked != nil && !h.unknown && h.acked.Version != res.Version {
		sub.restores = append(sub.restores, h.acked)
	}
	s.detachRejected()
}

// restore adds a resource that must be restored to the response; it returns false if there is none.
func (s *session) restore(r *response) bool {
	sub := r.subscription
	for len(sub.restores) > 0 && len(r.resources) == 0 {
		res := sub.restores[0]
		sub.restores = sub.restores[1:]
		if h := sub.have[res.Name]; h != nil && h.acked == res && sub.subscribed(res.Name) {
			r.resources = append(r.resources, res)
		}
	}
	return len(r.resources) > 0
}

// restored reports whether the proxy has accepted an older version, restored in place of the latest one, which it
// rejected.
func (s *session) restored(n translator.Name, res *translator.Resource) bool {
	latest := s.fleet.get(n)
	return n.Type == resource.SecretType && latest != nil && latest.Version != res.Version &&
		s.rejected[n].version == latest.Version
}

// releaseMemory notes that the proxy has accepted the resource in some version, or no longer has it.
func (s *session) releaseMemory(n translator.Name) {
	how := s.memory.spoilt[n]
	delete(s.memory.spoilt, n)
	delete(s.memory.doubts, n)
	if how == 0 {
		return
	}
	if listeners := s.subscription(resource.ListenerType); listeners != nil && how == detached {
		listeners.compare = true
	}
	s.resolveDoubts(false)
}

// suspect reports whether the proxy may have rejected bytes of a secret, from this stream or from an earlier one.
func (s *session) suspect(n translator.Name) bool {
	if how := s.memory.spoilt[n]; how != 0 {
		return how != acquitted
	}
	sub := s.subscription(resource.SecretType)
	if n.Type != resource.SecretType || sub == nil || !sub.names[n.Name] || s.fleet.get(n) != nil {
		return false
	}
	h := sub.have[n.Name]
	return h == nil || h.acked == nil || h.unknown
}

// detach marks the secrets that may be the cause of a rejected listener, so that the listener is sent without them. It
// returns false if there are none, or if the listener was already sent without them.
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

// latestNeeds returns what the latest version of a resource needs.
func (s *session) latestNeeds(n translator.Name) []translator.Name {
	if latest := s.fleet.get(n); latest != nil {
		return latest.Needs
	}
	return nil
}

// detached is the listener without its detached secrets.
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

// detachRejected marks suspect secrets of rejected listeners, so that these listeners are sent without them.
func (s *session) detachRejected() {
	sub := s.subscription(resource.ListenerType)
	for n := range s.rejected {
		if n.Type != resource.ListenerType {
			continue
		}
		for _, need := range s.latestNeeds(n) {
			if s.suspect(need) && s.memory.spoilt[need] != detached {
				s.memory.spoilt[need] = detached
				sub.mark(n.Name)
			}
		}
	}
}

// doubt reports whether a secret or cluster may have been rejected because of another secret, and notes it.
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
	for _, sub := range s.subscriptions {
		if !sub.brings {
			continue
		}
		for _, h := range sub.have {
			for _, user := range []*translator.Resource{h.acked, h.sent} {
				if user != nil && s.joined(user, nameOf(res)) {
					return true
				}
			}
		}
	}
	return false
}

// joined reports whether the resource needs the secret together with another one that may be rejected.
func (s *session) joined(user *translator.Resource, n translator.Name) bool {
	return slices.ContainsFunc(user.Needs, func(other translator.Name) bool {
		return other != n && s.suspect(other) && user.Joins(n.Name, other.Name)
	})
}

// resolveDoubts judges resources that were rejected together with others when each is the only candidate. Meanwhile the
// proxy may have built something with a secret, which shows whether the secret is good: an accepted listener has tried
// it, and a listener that is accepted only without it was rejected because of it. Other resources are sent again.
// (Envoy would reject the secret again while connections of an earlier filter chain with both secrets are open.)
func (s *session) resolveDoubts(built bool) {
	for n, res := range s.memory.doubts {
		sub, latest := s.subscription(n.Type), s.fleet.get(n)
		if sub == nil || latest == nil || latest.Version != res.Version {
			delete(s.memory.doubts, n)
			continue
		}
		if s.entangled(res) {
			continue
		}
		delete(s.memory.doubts, n)
		switch {
		case n.Type != resource.SecretType || !built:
			sub.mark(n.Name).asked = true
		case s.memory.spoilt[n] == detached:
			s.convict(n, res.Version, s.rejected[n].words)
		case s.inUse(n):
			sub.have[n.Name] = &held{acked: res, sent: res}
			delete(s.memory.spoilt, n)
			s.absolve(n)
		}
	}
}
