package xds

import (
	"crypto/rand"
	"strconv"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// everything is the name with which a proxy requests all resources of a type.
const everything = "*"

// A compromised proxy must not be able to fill the memory that all tenants share.
const (
	// sizeLimit is the number of bytes of the names that a stream subscribes to or says that it has, for all types.
	// Twice the size of the fleet's names is free: a proxy names what it has and what it needs.
	sizeLimit = 64 << 20
	// nameSize is the memory of a name in the maps of a session in addition to its own bytes.
	nameSize = 256
	// flightLimit is the number of responses of a type that may be unanswered. A proxy with that many gets the next one
	// only after an answer. An Envoy that is slow to answer gets about one a second (limits.warm).
	flightLimit = 256
)

// limits are the time limits of a session.
type limits struct {
	// grace is how long a resource stays after its last use, and how long the server waits for a proxy that does not
	// answer.
	grace time.Duration
	// warm is how long a resource waits for a cluster that it needs, and for an answer to the previous response.
	warm time.Duration
}

// session is the state of one proxy on one stream: its subscriptions, what it has, and what was sent. It does no I/O
// and uses no clock. The fleet's mutex protects it.
type session struct {
	fleet  *fleet
	limits limits
	// size is the approximate memory of the names that the proxy has sent, in bytes.
	size int
	// salt distinguishes the bytes of this stream from those of others, see memory.go.
	salt string

	subscriptions []*subscription
	inbox         []*batch
	// sent is the number of the last response; the number is also the nonce. answered is the highest number that the
	// proxy has answered.
	sent, answered uint64
	// wakeAt is the time at which next may have more to send even if nothing happens; zero means never.
	wakeAt time.Time

	warmth   warmth
	rejected map[translator.Name]rejection
	// trials are the running trials, by resource with a rejected part; tried counts their steps. offers remembers what
	// is sent instead of these resources.
	trials map[translator.Name]*trial
	tried  int
	offers map[translator.Name]offer
	// parked are guilty parts for which the fleet's memory has no room, by resource and hash. They are forgotten
	// together with the version of the resource.
	parked map[translator.Name]map[string]bool
	// now is the time of the last call.
	now time.Time
	// after lists the secrets that a cluster waits for only after it has its endpoints, by the name of these endpoints.
	after map[translator.Name][]translator.Name
	// memory is what the proxy may remember of rejected secrets.
	memory memory
	// needed has the names that anything on the proxy refers to; nil means that it must be collected again.
	needed *uses
	// news reports whether the report to the translation has changed.
	news bool
}

// subscription is a proxy's subscription to one type of resources.
type subscription struct {
	trait
	rank     int
	wildcard bool
	names    map[string]bool
	have     map[string]*held
	pending  map[string]*mark
	leaving  map[string]time.Time
	// groups are the names that must be sent separately from all others, to find out which of them the proxy rejects.
	groups [][]string
	// queue has the pending names that are considered next, and restores what must be restored in place of rejected
	// resources.
	queue    []string
	restores []*translator.Resource
	// flight has the responses that the proxy has not answered, oldest first.
	flight []*response
	// compare reports whether the subscription must be compared with the whole fleet; owed, whether an answer is due
	// even if it is empty.
	compare, owed bool
	// blocked reports whether something of this type waits for a cluster.
	blocked bool
	// taken reports whether the proxy has acknowledged a response of this type, on this stream or on an earlier one,
	// even an empty one.
	taken bool
}

// held is a resource that the proxy has or was sent.
type held struct {
	// acked is what the proxy runs, nil if it runs nothing under the name; sent is what was sent last, nil after a
	// removal.
	acked, sent *translator.Resource
	// unknown reports whether acked comes from the proxy's request on reconnecting: then only the version is known, not
	// what the resource needs.
	unknown bool
}

// mark is the reason why a name is considered.
type mark struct {
	// since is when the oldest unsent change was published; zero if nothing was published.
	since time.Time
	// asked: the proxy has requested the name and waits for an answer, or has rejected a response with it because of
	// others. follow: something that needs it was sent.
	asked, follow bool
	// candidate is the version that waits for its clusters. Later versions must not delay it forever.
	candidate *translator.Resource
}

// response is a message to the proxy.
type response struct {
	subscription *subscription
	seq          uint64
	resources    []*translator.Resource
	removed      []string
	sentAt       time.Time
	// since is when the oldest change in it was published; zero if it has none.
	since time.Time
}

func newSession(f *fleet, l limits) *session {
	return &session{
		fleet: f, limits: l, salt: rand.Text(), warmth: newWarmth(), news: true,
		memory: newMemory(), rejected: map[translator.Name]rejection{}, after: map[translator.Name][]translator.Name{},
		trials: map[translator.Name]*trial{}, offers: map[translator.Name]offer{},
		parked: map[translator.Name]map[string]bool{},
	}
}

// request handles a message of the proxy: subscriptions, and the answer to a response.
func (s *session) request(req *discovery.DeltaDiscoveryRequest, now time.Time) (answered *response) {
	s.now = now
	sub := s.subscription(req.GetTypeUrl())
	first := sub == nil
	if first {
		if sub = s.subscribe(req); sub == nil {
			return nil
		}
	}
	if nonce := req.GetResponseNonce(); nonce != "" {
		answered = s.answer(sub, req, now)
	}
	for _, name := range req.GetResourceNamesUnsubscribe() {
		s.unsubscribe(sub, name)
	}
	for _, name := range req.GetResourceNamesSubscribe() {
		if name == everything {
			sub.wildcard, sub.compare, sub.owed = true, true, true
			continue
		}
		if !sub.names[name] {
			s.size += sizeOf(name, "")
		}
		sub.names[name] = true
		sub.mark(name).asked = true
		s.warmth.seen(translator.Name{Type: sub.url, Name: name}, now)
	}
	if sub.url == resource.SecretType && len(req.GetResourceNamesSubscribe()) > 0 {
		s.detachRejected()
	}
	if first && sub.trait.wildcard && len(req.GetResourceNamesSubscribe()) == 0 {
		sub.wildcard = true
	}
	if first && sub.wildcard {
		sub.compare, sub.owed = true, len(req.GetInitialResourceVersions()) == 0
	}
	return answered
}

// post passes a publication to the session, which processes it when the proxy can accept something.
func (s *session) post(b *batch) {
	if len(s.inbox) >= inboxLimit {
		s.compareAll()
		return
	}
	s.inbox = append(s.inbox, b)
}

// compareAll makes the session compare all resources of the proxy with the desired ones.
func (s *session) compareAll() {
	s.inbox = nil
	for _, sub := range s.subscriptions {
		sub.compare = true
	}
}

func (s *session) subscription(url string) *subscription {
	for _, sub := range s.subscriptions {
		if sub.url == url {
			return sub
		}
	}
	return nil
}

// subscribe starts the subscription to a type. Resources that the proxy has from earlier streams count as acknowledged.
// It returns nil if nobody has resources of the type.
func (s *session) subscribe(req *discovery.DeltaDiscoveryRequest) *subscription {
	t, rank, known := traitOf(req.GetTypeUrl())
	if !known {
		return nil
	}
	sub := &subscription{
		trait: t, rank: rank, compare: true, names: map[string]bool{}, have: map[string]*held{},
		pending: map[string]*mark{}, leaving: map[string]time.Time{},
	}
	for name, version := range req.GetInitialResourceVersions() {
		r := &translator.Resource{Type: sub.url, Name: name, Version: version}
		sub.have[name] = &held{acked: r, sent: r, unknown: true}
		s.size += sizeOf(name, version) // It stays counted, because it comes once for each type.
	}
	sub.taken = len(sub.have) > 0
	s.news, s.needed = true, nil
	at := len(s.subscriptions)
	for at > 0 && s.subscriptions[at-1].rank > rank {
		at--
	}
	s.subscriptions = append(s.subscriptions, nil)
	copy(s.subscriptions[at+1:], s.subscriptions[at:])
	s.subscriptions[at] = sub
	return sub
}

func (s *session) unsubscribe(sub *subscription, name string) {
	if name == everything {
		sub.wildcard, sub.taken = false, false
		for n := range sub.have {
			if !sub.names[n] {
				s.forget(sub, n)
			}
		}
		return
	}
	if sub.names[name] {
		s.size -= sizeOf(name, "")
	}
	delete(sub.names, name)
	if !sub.wildcard {
		s.forget(sub, name)
	}
}

// forget drops the state of a name that the proxy no longer subscribes to.
func (s *session) forget(sub *subscription, name string) {
	delete(sub.have, name)
	delete(sub.pending, name)
	delete(sub.leaving, name)
	s.absolve(translator.Name{Type: sub.url, Name: name})
	s.releaseMemory(translator.Name{Type: sub.url, Name: name})
	delete(s.after, translator.Name{Type: sub.url, Name: name})
	delete(s.trials, translator.Name{Type: sub.url, Name: name})
	delete(s.offers, translator.Name{Type: sub.url, Name: name})
	delete(s.parked, translator.Name{Type: sub.url, Name: name})
	s.needed, s.news = nil, s.news || sub.reported != unreported
}

// answer handles an ACK or NACK. An answer to an unknown response is ignored.
func (s *session) answer(sub *subscription, req *discovery.DeltaDiscoveryRequest, now time.Time) *response {
	seq, err := strconv.ParseUint(req.GetResponseNonce(), 10, 64)
	if err != nil {
		return nil
	}
	var r *response
	for i, f := range sub.flight {
		if f.seq == seq {
			r = f
			sub.flight = append(sub.flight[:i], sub.flight[i+1:]...)
			break
		}
	}
	if r == nil {
		return nil
	}
	s.answered = max(s.answered, seq)
	s.warmth.answered(s.answered, now)
	s.needed = nil
	if e := req.GetErrorDetail(); e != nil {
		s.reject(r, e.GetMessage())
	} else {
		s.accept(r)
	}
	return r
}

func (s *session) accept(r *response) {
	sub := r.subscription
	s.news = s.news || !sub.taken
	sub.taken = true
	for _, res := range r.resources {
		s.acceptResource(sub, res, r.seq)
	}
	for _, name := range r.removed {
		s.warmth.done(translator.Name{Type: sub.url, Name: name}, r.seq, s.now)
		if h := sub.have[name]; h != nil && h.sent == nil {
			delete(sub.have, name)
			s.news = s.news || sub.reported != unreported
		}
	}
	if sub.brings {
		s.resolveDoubts(true)
	}
}

func (s *session) acceptResource(sub *subscription, res *translator.Resource, seq uint64) {
	n := nameOf(res)
	s.warmth.done(n, seq, s.now)
	s.releaseMemory(n)
	if !s.restored(n, res) && len(s.parked[n]) == 0 {
		s.absolve(n)
	}
	h := sub.have[res.Name]
	if h == nil {
		return
	}
	if sub.reported == byName && h.acked == nil || sub.reported == byVersion &&
		(h.acked == nil || h.acked.Version != res.Version) {
		s.news = true
	}
	h.acked, h.unknown = res, false
	s.passed(sub, res)
}

// excess is the approximate memory, in bytes, of the names that the proxy requests, or says that it has, beyond the
// free amount.
func (s *session) excess() int { return max(0, s.size-2*s.fleet.size) }

// greedy reports whether that is more than a stream may have.
func (s *session) greedy() bool { return s.excess() > sizeLimit }

// floods reports whether a single message has so many names that it is rejected before anything is stored. A proxy may
// name a resource that it has twice: it says that it has it, and subscribes to it.
func (s *session) floods(req *discovery.DeltaDiscoveryRequest) bool {
	size := 0
	for _, name := range req.GetResourceNamesSubscribe() {
		size += sizeOf(name, "")
	}
	for name, version := range req.GetInitialResourceVersions() {
		size += sizeOf(name, version)
	}
	return size > 2*(sizeLimit+2*s.fleet.size)
}

// sizeOf is the approximate memory, in bytes, of a name that a proxy subscribes to, or says that it has in a version.
func sizeOf(name, version string) int { return nameSize + len(name) + len(version) }

func (sub *subscription) subscribed(name string) bool {
	return sub.wildcard || sub.names[name]
}

func (sub *subscription) mark(name string) *mark {
	m := sub.pending[name]
	if m == nil {
		m = &mark{}
		sub.pending[name] = m
	}
	return m
}

// gone reports whether the proxy has nothing under the name, or was sent its removal.
func (h *held) gone() bool {
	return h == nil || h.sent == nil
}

// current reports whether the proxy has these bytes or they are being sent to it.
func (h *held) current(r *translator.Resource) bool {
	return h != nil && h.sent != nil && h.sent.Version == r.Version
}

// accepted reports whether the proxy runs these bytes.
func (h *held) accepted(r *translator.Resource) bool {
	return h != nil && h.acked != nil && h.acked.Version == r.Version
}
