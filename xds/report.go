package xds

import (
	"maps"
	"strings"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// snapshot returns the state of the proxy for the translation, as a copy.
func (s *session) snapshot(node string) translator.Proxy {
	p := translator.Proxy{
		Fleet: s.fleet.key, Node: node,
		Listeners: map[string]string{}, Routes: map[string]bool{}, Secrets: map[string]bool{},
		Rejected: map[translator.Name]string{},
		Guilty:   s.fleet.guilty,
	}
	if sub := s.subscription(resource.ListenerType); sub != nil {
		for name, h := range sub.have {
			if h.acked != nil {
				p.Listeners[name], _, _ = strings.Cut(h.acked.Version, "/") // A detached one counts as its listener.
			}
		}
	}
	names := func(url string, into map[string]bool) {
		if sub := s.subscription(url); sub != nil {
			for name, h := range sub.have {
				if h.acked != nil {
					into[name] = true
				}
			}
		}
	}
	names(resource.RouteType, p.Routes)
	names(resource.SecretType, p.Secrets)
	if sub := s.subscription(resource.ScopedRouteType); sub != nil {
		p.Scopes = sub.taken
	}
	for n, r := range s.rejected {
		p.Rejected[n] = r.words
	}
	return p
}

// sameReport reports whether two snapshots of one proxy are equal.
func sameReport(a, b translator.Proxy) bool {
	return a.Scopes == b.Scopes && maps.Equal(a.Listeners, b.Listeners) && maps.Equal(a.Routes, b.Routes) &&
		maps.Equal(a.Secrets, b.Secrets) &&
		maps.Equal(a.Rejected, b.Rejected) && maps.Equal(a.Guilty, b.Guilty)
}

// reporter passes the state of one proxy to Config.Report, one call at a time, and only the latest state. A proxy that
// reconnects before its earlier stream is found dead has two streams; the newest one counts.
type reporter struct {
	report func(p translator.Proxy, connected bool)
	// idle is called, without the mutex, when there is nothing left to report.
	idle func()

	mu      sync.Mutex
	streams []*stream
	waiting map[*stream]translator.Proxy
	last    *translator.Proxy
	busy    bool
}

func newReporter(report func(translator.Proxy, bool), idle func()) *reporter {
	return &reporter{report: report, idle: idle, waiting: map[*stream]translator.Proxy{}}
}

func (r *reporter) join(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams = append(r.streams, s)
}

// tell stores the new state from a stream. It does not wait for the report.
func (r *reporter) tell(s *stream, p translator.Proxy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[s] = p
	r.start()
}

// leave removes a stream.
func (r *reporter) leave(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, other := range r.streams {
		if other == s {
			r.streams = append(r.streams[:i], r.streams[i+1:]...)
			break
		}
	}
	delete(r.waiting, s)
	if r.last != nil || len(r.streams) > 0 {
		r.start()
	}
}

// spent reports whether the reporter has neither streams nor anything to report.
func (r *reporter) spent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.streams) == 0 && !r.busy && r.last == nil
}

// start runs the reports in the background unless this is already happening. The mutex must be held.
func (r *reporter) start() {
	if r.busy || r.report == nil {
		return
	}
	r.busy = true
	go r.run()
}

func (r *reporter) run() {
	for {
		p, connected, more := r.take()
		if !more {
			r.idle()
			return
		}
		r.report(p, connected)
	}
}

// take returns the next thing to report.
func (r *reporter) take() (p translator.Proxy, connected, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.streams) == 0 {
		if r.last == nil {
			r.busy = false
			return p, false, false
		}
		p, r.last = *r.last, nil
		return p, false, true
	}
	newest := r.streams[len(r.streams)-1]
	p, ok := r.waiting[newest]
	if !ok || r.last != nil && sameReport(p, *r.last) {
		r.busy = false
		return p, false, false
	}
	r.last = &p
	return p, true, true
}
