package xds

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"gatehouse/translator"
)

// FleetState is a fleet on the debug page.
type FleetState struct {
	// Fleet is the Gateway's namespace/name; Known reports whether the translation has published it.
	Fleet string
	Known bool
	// Resources counts the published resources by type URL.
	Resources map[string]int
	Proxies   []ProxyState
}

// ProxyState is one stream of a proxy.
type ProxyState struct {
	Node, Subject string
	Since         time.Time
	Types         []TypeState
	// Behind reports whether a publication has not been compared with the pending names yet.
	Behind bool
	// Cold are the clusters that routes wait for; Rejected has what the proxy rejected, with its messages.
	Cold     []string
	Rejected map[translator.Name]string
}

// TypeState is a proxy's subscription to one type.
type TypeState struct {
	Type     string
	Wildcard bool
	Names    int
	// Versions maps each resource on the proxy to the acknowledged version, which is empty if there is none.
	Versions map[string]string
	// Pending are names to send or compare, Leaving are names to remove, Unanswered are the nonces without an answer.
	Pending, Leaving []string
	Unanswered       []uint64
}

// Debug returns the state of all fleets, sorted. It makes a copy, so its cost grows with the state.
func (s *Server) Debug() []FleetState {
	s.mu.Lock()
	fleets := slices.SortedFunc(maps.Values(s.fleets), func(a, b *fleet) int { return cmp.Compare(a.key, b.key) })
	s.mu.Unlock()
	states := make([]FleetState, 0, len(fleets))
	for _, f := range fleets {
		states = append(states, f.state())
	}
	return states
}

func (f *fleet) state() FleetState {
	f.mu.Lock()
	defer f.mu.Unlock()
	state := FleetState{Fleet: f.key, Known: f.known, Resources: map[string]int{}}
	for url, byName := range f.resources {
		state.Resources[url] = len(byName)
	}
	for st := range f.streams {
		state.Proxies = append(state.Proxies, st.state())
	}
	slices.SortFunc(state.Proxies, func(a, b ProxyState) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), a.Since.Compare(b.Since))
	})
	return state
}

func (st *stream) state() ProxyState {
	s := st.session
	p := ProxyState{
		Node: st.node, Subject: st.identity.Subject, Since: st.since,
		Cold: slices.Sorted(maps.Keys(s.warmth.cold)), Rejected: map[translator.Name]string{},
		Behind: len(s.inbox) > 0 || slices.ContainsFunc(s.subscriptions, func(sub *subscription) bool { return sub.compare }),
	}
	for n, r := range s.rejected {
		p.Rejected[n] = r.words
	}
	for _, sub := range s.subscriptions {
		t := TypeState{
			Type: sub.url, Wildcard: sub.wildcard, Names: len(sub.names), Versions: make(map[string]string, len(sub.have)),
			Pending: slices.Sorted(maps.Keys(sub.pending)), Leaving: slices.Sorted(maps.Keys(sub.leaving)),
		}
		for name, h := range sub.have {
			t.Versions[name] = ""
			if h.acked != nil {
				t.Versions[name] = h.acked.Version
			}
		}
		for _, r := range sub.flight {
			t.Unanswered = append(t.Unanswered, r.seq)
		}
		p.Types = append(p.Types, t)
	}
	return p
}
