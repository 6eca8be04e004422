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
	for _, sub := range s.subscriptions {
		if sub.compare {
			s.compare(sub)
		}
	}
	s.absorb()
	for _, sub := range s.subscriptions {
		if r := s.compose(sub, now); r != nil {
			return s.dispatch(r, now)
		}
	}
	return nil
}

// absorb processes the publications since the last call.
func (s *session) absorb() {
	for _, b := range s.inbox {
		for _, n := range b.names {
			sub := s.subscription(n.Type)
			if sub == nil || !sub.subscribed(n.Name) {
				continue
			}
			if m := sub.mark(n.Name); m.since.IsZero() {
				m.since = b.at
			}
			s.foresee(sub, n.Name)
		}
	}
	s.inbox = nil
}

// compare marks every subscribed resource that differs between the proxy and the fleet.
func (s *session) compare(sub *subscription) {
	sub.compare = false
	s.needed = nil
	for n := range s.rejected {
		if n.Type == sub.url && s.fleet.get(n) == nil {
			s.absolve(n)
		}
	}
	for name, h := range sub.have {
		r := s.fleet.resources[sub.url][name]
		switch {
		case r == nil || !h.current(r):
			sub.mark(name)
		case h.unknown && h.sent == h.acked:
			h.acked, h.sent, h.unknown = r, r, false
			s.expectSecrets(r)
		}
	}
	if !sub.wildcard {
		for name := range sub.names {
			if sub.have[name] == nil {
				sub.mark(name)
			}
		}
		return
	}
	for name := range s.fleet.resources[sub.url] {
		if sub.have[name] == nil {
			sub.mark(name)
			s.foresee(sub, name)
		}
	}
}

// foresee maintains the list of cold clusters: a cluster is cold if it is to be sent and the proxy does not have it
// yet.
func (s *session) foresee(sub *subscription, name string) {
	if sub.url != resource.ClusterType {
		return
	}
	r := s.fleet.resources[sub.url][name]
	switch {
	case r == nil && sub.have[name].gone():
		s.warmth.drop(name)
	case r == nil: // It may come back before it is removed, and is not warmer then.
	case sub.have[name].gone() && s.rejected[nameOf(r)].version != r.Version:
		s.warmth.expect(name)
	}
}

// compose collects the resources of one type to send.
func (s *session) compose(sub *subscription, now time.Time) *response {
	sub.blocked = false
	if !s.turn(sub, now) {
		return nil
	}
	ready := !sub.afterListeners || s.listenersAnswered(now)
	if r := s.group(sub, ready, now); r != nil {
		return r
	}
	r := &response{subscription: sub}
	if s.restore(r) {
		return r
	}
	s.gatherPending(r, ready, now)
	if sub.owed && sub.blocked {
		sub.putBack(r)
		return nil
	}
	s.release(r, now)
	if len(r.resources) == 0 && len(r.removed) == 0 && !sub.owed {
		return s.group(sub, ready, now)
	}
	return r
}

// gatherPending adds pending resources to the response; only one for a type whose resources are sent apart.
func (s *session) gatherPending(r *response, ready bool, now time.Time) {
	sub := r.subscription
	if len(sub.queue) == 0 {
		sub.queue = slices.Sorted(maps.Keys(sub.pending))
	}
	for len(sub.queue) > 0 && (!sub.apart || len(r.resources) == 0) {
		name := sub.queue[0]
		sub.queue = sub.queue[1:]
		if sub.pending[name] != nil {
			s.consider(r, name, ready, now)
		}
	}
}

// putBack returns the resources of a response that must wait to the pending ones, because the first response is never
// split.
func (sub *subscription) putBack(r *response) {
	for _, res := range r.resources {
		sub.mark(res.Name).since = r.since
	}
	for _, name := range r.removed {
		sub.mark(name).asked = true
	}
}

// turn reports whether a type may be sent: when all types before it are answered, or when the time limit of the answer
// is over. Clusters may also be sent when the proxy has read the previous ones, which is known if it has answered
// something later. Resources that are sent apart may be sent at any time.
func (s *session) turn(sub *subscription, now time.Time) bool {
	if len(sub.flight) == 0 {
		return true
	}
	if len(sub.flight) >= flightLimit {
		return false
	}
	last := sub.flight[len(sub.flight)-1]
	if sub.apart || sub.lateAnswer && last.seq < s.answered {
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
	sub := r.subscription
	m, h, latest := sub.pending[name], sub.have[name], s.fleet.resources[sub.url][name]
	if latest == nil {
		delete(sub.pending, name)
		s.vanished(r, name, m)
		return
	}
	if latest = s.offered(sub, latest); latest == nil {
		delete(sub.pending, name)
		return
	}
	delete(sub.leaving, name)
	rejectedNow := s.rejected[nameOf(latest)].version == latest.Version
	switch {
	case m.asked && rejectedNow:
		sub.groups = append(sub.groups, []string{name})
		delete(sub.pending, name)
		return
	case !m.asked && (rejectedNow || !m.follow && h.current(latest)):
		delete(sub.pending, name)
		s.pardon(h, latest)
		return
	}
	s.choose(r, m, latest, ready, now)
}

// choose adds a resource to the response, in its latest version or in the version that may be sent. If no version may
// be sent, it stays marked.
func (s *session) choose(r *response, m *mark, latest *translator.Resource, ready bool, now time.Time) {
	sub := r.subscription
	if !ready && sub.have[latest.Name] != nil || sub.apart && s.underWay(sub, latest.Name, now) {
		sub.blocked = true
		return
	}
	send := s.pass(sub, m, latest, now)
	if send == nil {
		sub.blocked = true
		return
	}
	r.resources = append(r.resources, send)
	r.since = earlier(r.since, m.since)
	if send == latest {
		delete(sub.pending, latest.Name)
		return
	}
	m.asked, m.follow = false, false
}

// underWay reports whether the name was sent and the proxy still has time to answer.
func (s *session) underWay(sub *subscription, name string, now time.Time) bool {
	for _, r := range sub.flight {
		until := r.sentAt.Add(s.limits.warm)
		if now.Before(until) && slices.ContainsFunc(r.resources,
			func(sent *translator.Resource) bool { return sent.Name == name }) {
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
	if _, was := s.rejected[n]; was {
		delete(s.rejected, n)
		s.news = true
	}
}

// pass returns the version whose clusters allow sending it, nil if there is none yet. A version that has begun to wait
// is sent when its own clusters are warm, even if a later version must wait for others.
func (s *session) pass(sub *subscription, m *mark, latest *translator.Resource, now time.Time) *translator.Resource {
	if !sub.gated {
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
	clusters := s.subscription(resource.ClusterType)
	for _, n := range r.Needs {
		if n.Type == resource.ClusterType && s.fleet.get(n) == nil &&
			(clusters == nil || clusters.have[n.Name] == nil || s.warmth.cold[n.Name] != nil) {
			return true
		}
	}
	return false
}

// listenersAnswered reports whether the proxy has all desired listeners, or its time to accept them is over.
func (s *session) listenersAnswered(now time.Time) bool {
	sub := s.subscription(resource.ListenerType)
	return sub == nil || s.turn(sub, now) && !sub.blocked && len(sub.groups) == 0
}

// dispatch gives a response its number and notes its effect on the proxy.
func (s *session) dispatch(r *response, now time.Time) *response {
	sub := r.subscription
	s.sent++
	r.seq, r.sentAt = s.sent, now
	sub.owed = false
	sub.flight = append(sub.flight, r)
	s.needed = nil
	for i, res := range r.resources {
		h := sub.have[res.Name]
		if h == nil {
			h = &held{}
			sub.have[res.Name] = h
		}
		res = s.told(sub, h, res, r.seq)
		r.resources[i], h.sent = res, res
		if sub.url == resource.ClusterType {
			s.warmth.sent(res, r.seq, now)
		}
		s.bring(sub, res)
	}
	for _, name := range r.removed {
		if h := sub.have[name]; h != nil {
			h.sent = nil
		}
		delete(sub.leaving, name)
		if sub.url == resource.ClusterType {
			s.warmth.drop(name)
		}
	}
	return r
}

// bring schedules the resources that the proxy waits for because of the resource that is sent.
func (s *session) bring(sub *subscription, res *translator.Resource) {
	for _, secret := range s.after[nameOf(res)] {
		s.follow(secret)
	}
	delete(s.after, nameOf(res))
	if !sub.brings {
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
	if sub := s.subscription(n.Type); sub != nil && sub.names[n.Name] && s.fleet.get(n) != nil {
		sub.mark(n.Name).follow = true
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
