package xds

import (
	"slices"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// warmth has the clusters that the proxy does not have yet. A route that names such a cluster would answer 503, so it
// waits until the cluster is warm: until the proxy has acknowledged its endpoints and secrets. The acknowledgement of
// the cluster itself shows only that it was accepted (and comes late while Envoy warms any other cluster). A cluster
// that uses DNS needs no endpoints, and nothing shows when it has an answer: it gets the whole time limit, also when it
// has its secrets. Each cluster is waited for only once: when it is warm, rejected or out of time it leaves this list and
// does not come back while the proxy has it.
type warmth struct {
	cold map[string]*warming
	// by lists, for each resource, the cold clusters that wait for it.
	by map[translator.Name][]string
	// unseen counts the sent clusters that the proxy has shown no sign of.
	unseen int
}

// warming is a cluster that is being sent.
type warming struct {
	// seq is the response with the cluster, 0 while it is not sent.
	seq    uint64
	sentAt time.Time
	// seenAt is when the proxy showed that it had read the cluster: the time limit starts here.
	seenAt  time.Time
	waiting []translator.Name
	// told reports whether the proxy gets the endpoints from here, and so shows when it has them.
	told bool
	// warms is how long the proxy takes after it has what the cluster waits for, and readyAt when that time is over. It
	// is zero until then.
	warms   time.Duration
	readyAt time.Time
}

func newWarmth() warmth {
	return warmth{cold: map[string]*warming{}, by: map[translator.Name][]string{}}
}

// expect notes a cluster that is going to be sent and that the proxy does not have.
func (w *warmth) expect(cluster string) {
	if w.cold[cluster] == nil {
		w.cold[cluster] = &warming{}
	}
}

// drop stops waiting for a cluster.
func (w *warmth) drop(cluster string) {
	c := w.cold[cluster]
	if c == nil {
		return
	}
	delete(w.cold, cluster)
	if c.seq != 0 && c.seenAt.IsZero() {
		w.unseen--
	}
	for _, n := range c.waiting {
		w.by[n] = slices.DeleteFunc(w.by[n], func(name string) bool { return name == cluster })
		if len(w.by[n]) == 0 {
			delete(w.by, n)
		}
	}
}

// sent notes that a cluster is sent with the response seq. It does nothing if the cluster is not cold.
func (w *warmth) sent(r *translator.Resource, seq uint64, now time.Time) {
	c := w.cold[r.Name]
	if c == nil || c.seq != 0 {
		return
	}
	c.seq, c.sentAt, c.warms = seq, now, r.Warms
	w.unseen++
	for _, n := range r.Needs {
		if n.Type == resource.EndpointType || n.Type == resource.SecretType {
			c.waiting = append(c.waiting, n)
			c.told = c.told || n.Type == resource.EndpointType
			w.by[n] = append(w.by[n], r.Name)
		}
	}
}

// seen notes that the proxy requests a resource, which shows that it has read the clusters that need the resource.
func (w *warmth) seen(n translator.Name, now time.Time) {
	for _, cluster := range w.by[n] {
		w.see(w.cold[cluster], now)
	}
}

// answered notes that the proxy has answered the response seq, and so has read all earlier ones.
func (w *warmth) answered(seq uint64, now time.Time) {
	if w.unseen == 0 {
		return
	}
	for _, c := range w.cold {
		if c.seq != 0 && c.seq <= seq {
			w.see(c, now)
		}
	}
}

func (w *warmth) see(c *warming, now time.Time) {
	if c.seenAt.IsZero() {
		c.seenAt = now
		w.unseen--
	}
}

// done notes that a resource of the response seq is acknowledged, rejected or known to be missing. For a cluster
// itself this means nothing. A cluster with health checks is not used until each endpoint has been asked, or has had
// its time to answer.
func (w *warmth) done(n translator.Name, seq uint64, now time.Time) {
	for _, cluster := range slices.Clone(w.by[n]) {
		c := w.cold[cluster]
		if c.seq > seq {
			continue
		}
		c.waiting = slices.DeleteFunc(c.waiting, func(m translator.Name) bool { return m == n })
		w.by[n] = slices.DeleteFunc(w.by[n], func(name string) bool { return name == cluster })
		switch {
		case len(c.waiting) > 0 || !c.told:
		case c.warms > 0:
			w.see(c, now)
			c.readyAt = now.Add(c.warms + checkMargin)
		default:
			w.drop(cluster)
		}
	}
	if len(w.by[n]) == 0 {
		delete(w.by, n)
	}
}

// block reports whether the resource needs a cold cluster, and if so, when its time limit ends (zero if it is not sent
// yet).
func (w *warmth) block(r *translator.Resource, l limits, now time.Time) (until time.Time, blocked bool) {
	if len(w.cold) == 0 {
		return time.Time{}, false
	}
	for _, n := range r.Needs {
		if n.Type != resource.ClusterType {
			continue
		}
		c := w.cold[n.Name]
		switch {
		case c == nil:
		case c.seq == 0:
			return time.Time{}, true
		case !now.Before(c.deadline(l)):
			w.drop(n.Name)
		default:
			return c.deadline(l), true
		}
	}
	return time.Time{}, false
}

// checkMargin is how much longer than a health check may take the wait for it is.
const checkMargin = 200 * time.Millisecond

// deadline is when the wait for a sent cluster ends. No endpoint can delay others with the answer to a health check for
// longer than the grace.
func (c *warming) deadline(l limits) time.Time {
	if !c.readyAt.IsZero() {
		return earlier(c.readyAt, c.seenAt.Add(max(l.grace, l.warm)))
	}
	if c.seenAt.IsZero() {
		return c.sentAt.Add(l.grace)
	}
	if !c.told && c.warms > 0 {
		return c.seenAt.Add(min(l.warm+c.warms+checkMargin, max(l.grace, l.warm)))
	}
	return c.seenAt.Add(l.warm)
}
