package xds

import (
	"maps"
	"slices"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// next returns the response to send now, or nil; then wakeAt is the time to ask again even if nothing happens. One
// response of each type is in flight at a time, so a resource that changes meanwhile is sent once, in its latest
// version.
func (s *session) next(now time.Time) *response {
	s.now, s.wakeAt = now, time.Time{}
	if !s.fleet.known {
		return nil
	}
	for _, k := range s.kinds {
		if k.compare {
			s.compare(k)
		}
	}
	s.absorb()
	for _, k := range s.kinds {
		if r := s.compose(k, now); r != nil {
			return s.dispatch(r, now)
		}
	}
	return nil
}

// absorb processes the publications since the last call.
func (s *session) absorb() {
	for _, b := range s.inbox {
		for _, n := range b.names {
			k := s.kind(n.Type)
			if k == nil || !k.subscribed(n.Name) {
				continue
			}
			if m := k.mark(n.Name); m.since.IsZero() {
				m.since = b.at
			}
			s.foresee(k, n.Name)
		}
	}
	s.inbox = nil
}

// compare marks every subscribed resource that differs between the proxy and the fleet.
func (s *session) compare(k *kind) {
	k.compare = false
	s.needed = nil
	for n := range s.refused {
		if n.Type == k.url && s.fleet.get(n) == nil {
			s.absolve(n)
		}
	}
	for name, h := range k.have {
		r := s.fleet.resources[k.url][name]
		switch {
		case r == nil || !h.current(r):
			k.mark(name)
		case h.unknown && h.sent == h.acked:
			h.acked, h.sent, h.unknown = r, r, false
			s.expectSecrets(r)
		}
	}
	if !k.wildcard {
		for name := range k.names {
			if k.have[name] == nil {
				k.mark(name)
			}
		}
		return
	}
	for name := range s.fleet.resources[k.url] {
		if k.have[name] == nil {
			k.mark(name)
			s.foresee(k, name)
		}
	}
}

// foresee maintains the list of cold clusters: a cluster is cold if it is to be sent and the proxy does not have it
// yet.
func (s *session) foresee(k *kind, name string) {
	if k.url != resource.ClusterType {
		return
	}
	r := s.fleet.resources[k.url][name]
	switch {
	case r == nil && k.have[name].gone():
		s.warmth.drop(name)
	case r == nil: // It may come back before it is removed, and is no warmer then.
	case k.have[name].gone() && s.refused[nameOf(r)].version != r.Version:
		s.warmth.expect(name)
	}
}

// compose collects the resources of one type to send.
func (s *session) compose(k *kind, now time.Time) *response {
	k.blocked = false
	if !s.turn(k, now) {
		return nil
	}
	ready := !k.afterListeners || s.listenersAnswered(now)
	if r := s.group(k, ready, now); r != nil {
		return r
	}
	r := &response{kind: k}
	if s.restore(r) {
		return r
	}
	s.gatherPending(r, ready, now)
	if k.owed && k.blocked {
		k.putBack(r)
		return nil
	}
	s.release(r, now)
	if len(r.resources) == 0 && len(r.removed) == 0 && !k.owed {
		return s.group(k, ready, now)
	}
	return r
}

// gatherPending adds pending resources to the response; only one for a type whose resources are sent apart.
func (s *session) gatherPending(r *response, ready bool, now time.Time) {
	k := r.kind
	if len(k.queue) == 0 {
		k.queue = slices.Sorted(maps.Keys(k.pending))
	}
	for len(k.queue) > 0 && (!k.apart || len(r.resources) == 0) {
		name := k.queue[0]
		k.queue = k.queue[1:]
		if k.pending[name] != nil {
			s.consider(r, name, ready, now)
		}
	}
}

// putBack returns the resources of a response that must wait to the pending ones, because the first response is never
// split.
func (k *kind) putBack(r *response) {
	for _, res := range r.resources {
		k.mark(res.Name).since = r.since
	}
	for _, name := range r.removed {
		k.mark(name).asked = true
	}
}

// turn reports whether a type may be sent: when all types before it are answered, or when the time limit of the answer
// is over. Clusters may also be sent when the proxy has read the previous ones, which is known if it has answered
// something later. Resources that are sent apart may be sent at any time.
func (s *session) turn(k *kind, now time.Time) bool {
	if len(k.flight) == 0 {
		return true
	}
	if len(k.flight) >= flightLimit {
		return false
	}
	last := k.flight[len(k.flight)-1]
	if k.apart || k.lateAnswer && last.seq < s.answered {
		return true
	}
	until := last.sentAt.Add(s.limits.warm)
	if now.Before(until) {
		s.wakeBy(until)
		return false
	}
	return true
}

// consider decides about one name: it is added to the response, waits, or is dropped.
func (s *session) consider(r *response, name string, ready bool, now time.Time) {
	k := r.kind
	m, h, latest := k.pending[name], k.have[name], s.fleet.resources[k.url][name]
	if latest == nil {
		delete(k.pending, name)
		s.vanished(r, name, m)
		return
	}
	if latest = s.offered(k, latest); latest == nil {
		delete(k.pending, name)
		return
	}
	delete(k.leaving, name)
	refusedNow := s.refused[nameOf(latest)].version == latest.Version
	switch {
	case m.asked && refusedNow:
		k.groups = append(k.groups, []string{name})
		delete(k.pending, name)
		return
	case !m.asked && (refusedNow || !m.follow && h.current(latest)):
		delete(k.pending, name)
		s.pardon(h, latest)
		return
	}
	s.choose(r, m, latest, ready, now)
}

// choose adds a resource to the response, in its latest version or in the version that may be sent. If no version may
// be sent, it stays marked.
func (s *session) choose(r *response, m *mark, latest *translator.Resource, ready bool, now time.Time) {
	k := r.kind
	if !ready && k.have[latest.Name] != nil || k.apart && s.underWay(k, latest.Name, now) {
		k.blocked = true
		return
	}
	send := s.pass(k, m, latest, now)
	if send == nil {
		k.blocked = true
		return
	}
	r.resources = append(r.resources, send)
	r.since = earlier(r.since, m.since)
	if send == latest {
		delete(k.pending, latest.Name)
		return
	}
	m.asked, m.follow = false, false
}

// underWay reports whether the name was sent and the proxy still has time to answer.
func (s *session) underWay(k *kind, name string, now time.Time) bool {
	for _, r := range k.flight {
		until := r.sentAt.Add(s.limits.warm)
		if now.Before(until) && slices.ContainsFunc(r.resources, func(sent *translator.Resource) bool { return sent.Name == name }) {
			s.wakeBy(until)
			return true
		}
	}
	return false
}

// pardon forgets a rejection when the fleet has returned to the version that the proxy runs, because then no
// acknowledgement follows.
func (s *session) pardon(h *held, latest *translator.Resource) {
	n := nameOf(latest)
	if h != nil && h.acked != nil && h.acked.Version == latest.Version && len(s.parked[n]) == 0 {
		s.absolve(n)
	}
}

// absolve forgets a rejection, if there is one.
func (s *session) absolve(n translator.Name) {
	if _, was := s.refused[n]; was {
		delete(s.refused, n)
		s.news = true
	}
}

// pass returns the version whose clusters allow sending it, nil if there is none yet. A version that has begun to wait
// is sent when its own clusters are warm, even if a later version must wait for others.
func (s *session) pass(k *kind, m *mark, latest *translator.Resource, now time.Time) *translator.Resource {
	if !k.gated {
		return latest
	}
	until, blocked := s.warmth.block(latest, s.limits, now)
	if !blocked {
		m.candidate = nil
		return latest
	}
	if m.candidate == nil || s.impossible(m.candidate) {
		m.candidate, s.needed = latest, nil
	}
	if m.candidate != latest {
		if until, blocked = s.warmth.block(m.candidate, s.limits, now); !blocked {
			send := m.candidate
			m.candidate = nil
			return send
		}
	}
	s.wakeBy(until)
	return nil
}

// impossible reports whether a version needs a cluster that has been removed and that the proxy does not have, or not
// with everything that it waits for.
func (s *session) impossible(r *translator.Resource) bool {
	clusters := s.kind(resource.ClusterType)
	for _, n := range r.Needs {
		if n.Type == resource.ClusterType && s.fleet.get(n) == nil && (clusters == nil || clusters.have[n.Name] == nil || s.warmth.cold[n.Name] != nil) {
			return true
		}
	}
	return false
}

// listenersAnswered reports whether the proxy has all desired listeners, or its time to accept them is over.
func (s *session) listenersAnswered(now time.Time) bool {
	k := s.kind(resource.ListenerType)
	return k == nil || s.turn(k, now) && !k.blocked && len(k.groups) == 0
}

// dispatch gives a response its number and notes its effect on the proxy.
func (s *session) dispatch(r *response, now time.Time) *response {
	k := r.kind
	s.sent++
	r.seq, r.sentAt = s.sent, now
	k.owed = false
	k.flight = append(k.flight, r)
	s.needed = nil
	for i, res := range r.resources {
		h := k.have[res.Name]
		if h == nil {
			h = &held{}
			k.have[res.Name] = h
		}
		res = s.told(k, h, res, r.seq)
		r.resources[i], h.sent = res, res
		if k.url == resource.ClusterType {
			s.warmth.sent(res, r.seq, now)
		}
		s.bring(k, res)
	}
	for _, name := range r.removed {
		if h := k.have[name]; h != nil {
			h.sent = nil
		}
		delete(k.leaving, name)
		if k.url == resource.ClusterType {
			s.warmth.drop(name)
		}
	}
	return r
}

// bring schedules the resources that the proxy waits for because of the resource that is sent.
func (s *session) bring(k *kind, res *translator.Resource) {
	for _, secret := range s.after[nameOf(res)] {
		s.follow(secret)
	}
	delete(s.after, nameOf(res))
	if !k.brings {
		return
	}
	late := s.expectSecrets(res)
	for _, n := range res.Needs {
		if !late || n.Type != resource.SecretType {
			s.follow(n)
		}
	}
}

// expectSecrets notes that a cluster with endpoints waits for its secrets only after it has its endpoints. It reports
// whether this applies.
func (s *session) expectSecrets(res *translator.Resource) bool {
	if res.Type != resource.ClusterType {
		return false
	}
	i := slices.IndexFunc(res.Needs, func(n translator.Name) bool { return n.Type == resource.EndpointType })
	if i < 0 {
		return false
	}
	var secrets []translator.Name
	for _, n := range res.Needs {
		if n.Type == resource.SecretType {
			secrets = append(secrets, n)
		}
	}
	if len(secrets) > 0 {
		s.after[res.Needs[i]] = secrets
	}
	return len(secrets) > 0
}

// follow sends a resource again if the proxy subscribes to it; otherwise the proxy will request it.
func (s *session) follow(n translator.Name) {
	if k := s.kind(n.Type); k != nil && k.names[n.Name] && s.fleet.get(n) != nil {
		k.mark(n.Name).follow = true
	}
}

func (s *session) wakeBy(t time.Time) {
	if !t.IsZero() {
		s.wakeAt = earlier(s.wakeAt, t)
	}
}

// earlier returns the earlier of two times; zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func nameOf(r *translator.Resource) translator.Name {
	return translator.Name{Type: r.Type, Name: r.Name}
}
