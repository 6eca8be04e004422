package xds

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"gatehouse/translator"
)

// FleetState is a fleet as the debug page shows it.
type FleetState struct {
	// Fleet is the Gateway's namespace/name; Known tells whether the translation has published it.
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
	// Behind reports whether something was published that is not among what is pending yet.
	Behind bool
	// Cold are the clusters that routes wait for; Refused is what the proxy refused, with its words.
	Cold    []string
	Refused map[translator.Name]string
}

// TypeState is a proxy's subscription to one type.
type TypeState struct {
	Type     string
	Wildcard bool
	Names    int
	// Versions maps each resource on the proxy to the acknowledged version, which is empty while there is none.
	Versions map[string]string
	// Pending are names to be sent or looked at, Leaving those to be removed, Unanswered the nonces without an answer.
	Pending, Leaving []string
	Unanswered       []uint64
}

// Debug returns the state of all fleets, sorted. It copies, so it costs as much as there is to show.
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
		Cold: slices.Sorted(maps.Keys(s.warmth.cold)), Refused: map[translator.Name]string{},
		Behind: len(s.inbox) > 0 || slices.ContainsFunc(s.kinds, func(k *kind) bool { return k.compare }),
	}
	for n, r := range s.refused {
		p.Refused[n] = r.words
	}
	for _, k := range s.kinds {
		t := TypeState{
			Type: k.url, Wildcard: k.wildcard, Names: len(k.names), Versions: make(map[string]string, len(k.have)),
			Pending: slices.Sorted(maps.Keys(k.pending)), Leaving: slices.Sorted(maps.Keys(k.leaving)),
		}
		for name, h := range k.have {
			t.Versions[name] = ""
			if h.acked != nil {
				t.Versions[name] = h.acked.Version
			}
		}
		for _, r := range k.flight {
			t.Unanswered = append(t.Unanswered, r.seq)
		}
		p.Types = append(p.Types, t)
	}
	return p
}
