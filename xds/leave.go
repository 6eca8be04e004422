package xds

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// drainGraces is how many grace periods (one minute by default) the connections of a replaced listener get to finish.
// Envoy looks up resources of such a listener for each request. For other types Envoy keeps the resources in use.
const drainGraces = 12

// uses is the set of names that anything on the proxy refers to.
type uses struct {
	names map[translator.Name]bool
	// unknown are the types for which the proxy has a resource with unknown content: everything that it may name may be
	// in use.
	unknown map[string]bool
}

// vanished notes that the fleet's resources do not contain a name, or no longer.
func (s *session) vanished(r *response, name string, m *mark) {
	sub := r.subscription
	s.foresee(sub, name)
	s.absolve(translator.Name{Type: sub.url, Name: name})
	if m.candidate != nil {
		s.needed = nil
	}
	switch h := sub.have[name]; {
	case h == nil && m.asked:
		r.removed = append(r.removed, name)
	case h == nil || h.sent == nil:
		return
	default:
		if _, leaving := sub.leaving[name]; !leaving {
			sub.leaving[name] = time.Time{}
		}
	}
}

// release adds the due removals to the response: resources that the fleet no longer has, and that nothing on the proxy
// has used for the grace period. In that time Envoy finishes requests with the earlier configuration.
func (s *session) release(r *response, now time.Time) {
	sub := r.subscription
	for _, name := range slices.Sorted(maps.Keys(sub.leaving)) {
		since := sub.leaving[name]
		if s.fleet.resources[sub.url][name] != nil {
			delete(sub.leaving, name)
			continue
		}
		user, grace := translator.Name{Type: sub.url, Name: name}, s.limits.grace
		if sub.owned {
			user.Name, grace = name[:max(0, strings.LastIndexByte(name, '/'))], drainGraces*grace
		}
		if sub.atOnce && (!sub.owned || s.fleet.listenersNeed(user)) {
			r.removed = append(r.removed, name)
			continue
		}
		if s.inUse(user) {
			sub.leaving[name] = time.Time{}
			continue
		}
		if since.IsZero() {
			since = now
			sub.leaving[name] = now
		}
		if due := since.Add(grace); now.Before(due) {
			s.wakeBy(due)
			continue
		}
		r.removed = append(r.removed, name)
	}
}

// inUse reports whether anything that the proxy has, or will have after its next ACK, names the resource.
func (s *session) inUse(n translator.Name) bool {
	if s.needed == nil {
		s.needed = s.gather()
	}
	for url := range s.needed.unknown {
		// Nothing names its own type, and a cluster names endpoints and secrets only.
		if url != n.Type && (url != resource.ClusterType || n.Type == resource.EndpointType ||
			n.Type == resource.SecretType) {
			return true
		}
	}
	return s.needed.names[n]
}

func (s *session) gather() *uses {
	u := &uses{names: map[translator.Name]bool{}, unknown: map[string]bool{}}
	add := func(r *translator.Resource) {
		if r != nil {
			for _, n := range r.Needs {
				u.names[n] = true
			}
		}
	}
	for _, sub := range s.subscriptions {
		if sub.url == resource.EndpointType || sub.url == resource.SecretType {
			continue
		}
		for _, h := range sub.have {
			if h.unknown {
				u.unknown[sub.url] = true
			}
			add(h.acked)
			if h.sent != h.acked {
				add(h.sent)
			}
		}
		for _, m := range sub.pending {
			add(m.candidate)
		}
	}
	return u
}
