package xds

import (
	"slices"
	"sync"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// inboxLimit is the number of published batches that a session keeps separately; a proxy that is further behind
// compares everything once instead.
const inboxLimit = 256

// fleet has the proxies of one Gateway and their desired resources. Its mutex protects the resources and all sessions.
// It is never held while something is sent or received.
type fleet struct {
	key string

	mu sync.Mutex
	// known reports whether the translation has published this fleet and has not removed it since.
	known     bool
	resources map[string]map[string]*translator.Resource
	// size is the approximate memory of the resources' names on a stream, in bytes.
	size    int
	streams map[*stream]struct{}
	// watchers are signalled when resources change, for streams without a session.
	watchers map[chan struct{}]struct{}
	// guilty are the parts of resources that proxies of the fleet have rejected, by hash, with Envoy's messages. There
	// are at most room of them. convicted counts all parts that have ever been guilty.
	guilty map[string]string
	room   int
	// convicted counts all that have ever been among the guilty.
	convicted int
	// forgotten is when guilty parts that the fleet's resources no longer have were last forgotten.
	forgotten time.Time
}

// batch is the changes of one publication.
type batch struct {
	names []translator.Name
	at    time.Time
}

func newFleet(key string) *fleet {
	return &fleet{
		key: key, resources: map[string]map[string]*translator.Resource{}, streams: map[*stream]struct{}{},
		watchers: map[chan struct{}]struct{}{}, room: guiltyLimit,
	}
}

// publish stores a change and wakes the streams of the proxies. Its cost grows with the change and, by a constant per
// proxy, with the number of proxies.
func (f *fleet) publish(d translator.Delta, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.Gone {
		f.known = false
		clear(f.resources)
		f.size = 0
		return
	}
	appeared := !f.known
	f.known = true
	b := &batch{names: make([]translator.Name, 0, len(d.Changed)+len(d.Removed)), at: now}
	for _, n := range d.Removed {
		if old := f.get(n); old != nil {
			f.size -= sizeOf(n.Name, old.Version)
		}
		delete(f.resources[n.Type], n.Name)
		b.names = append(b.names, n)
	}
	for _, r := range d.Changed {
		byName := f.resources[r.Type]
		if byName == nil {
			byName = map[string]*translator.Resource{}
			f.resources[r.Type] = byName
		}
		if old := byName[r.Name]; old != nil {
			f.size -= sizeOf(r.Name, old.Version)
		}
		f.size += sizeOf(r.Name, r.Version)
		byName[r.Name] = r
		b.names = append(b.names, translator.Name{Type: r.Type, Name: r.Name})
	}
	for s := range f.streams {
		if appeared {
			s.session.compareAll()
		} else {
			s.session.post(b)
		}
		s.wake()
	}
	f.wakeWatchers()
}

// get returns the desired resource with the name, or nil.
func (f *fleet) get(n translator.Name) *translator.Resource {
	return f.resources[n.Type][n.Name]
}

// listenersNeed reports whether a desired listener names the resource.
func (f *fleet) listenersNeed(n translator.Name) bool {
	for _, l := range f.resources[resource.ListenerType] {
		if slices.Contains(l.Needs, n) {
			return true
		}
	}
	return false
}

func (f *fleet) wakeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.streams {
		s.wake()
	}
	f.wakeWatchers()
}

// wakeWatchers signals that something may have changed. It never waits. The mutex must be held.
func (f *fleet) wakeWatchers() {
	for awake := range f.watchers {
		select {
		case awake <- struct{}{}:
		default:
		}
	}
}
