package xds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"

	"gatehouse/translator"
)

// model is an Envoy that reads and answers at random times, rejects resources that are marked bad, and loses its
// connection. It fails the test if it gets something in an order that would make requests fail.
type model struct {
	*script
	random *rand.Rand
	// unread are responses in flight; has is what the model runs by type and name; asked are its subscriptions by name.
	unread []*response
	has    map[string]map[string]*translator.Resource
	asked  map[string]map[string]bool
	// noted are the last bytes of each secret that the model was sent, even if it rejected them. It accepts the same
	// bytes as good.
	noted map[string]string
	// rejected are the clusters of which the model rejected every version.
	rejected map[string]bool
	// warming are the clusters and listeners that wait for resources, with these resources.
	warming map[translator.Name]map[translator.Name]bool
	// warm are the clusters that have everything that they wait for, or an answer that there is none; sentAt is when
	// others were first sent.
	warm   map[string]bool
	sentAt map[string]time.Time
}

func bad(r *translator.Resource) bool { return strings.HasSuffix(r.Version, "!") }

// subscriptions is the order in which Envoy subscribes.
var subscriptions = []string{
	resource.ClusterType, resource.EndpointType, resource.SecretType, resource.ListenerType,
	resource.RouteType,
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		script: newScript(t), random: rand.New(rand.NewPCG(seed, 1)), has: map[string]map[string]*translator.Resource{},
		asked: map[string]map[string]bool{}, noted: map[string]string{}, rejected: map[string]bool{},
		warming: map[translator.Name]map[translator.Name]bool{},
	}
	for _, typ := range subscriptions {
		m.has[typ], m.asked[typ] = map[string]*translator.Resource{}, map[string]bool{}
	}
	m.connect()
	return m
}

// connect starts a new stream and reports what the model has from earlier ones.
func (m *model) connect() {
	m.t.Log("connect")
	m.unread = nil
	m.reconnect()
	m.warm, m.sentAt = map[string]bool{}, map[string]time.Time{}
	for name := range m.has[resource.ClusterType] {
		m.warm[name] = true // The control plane cannot know otherwise.
	}
	for _, typ := range subscriptions {
		req := &discovery.DeltaDiscoveryRequest{TypeUrl: typ, InitialResourceVersions: map[string]string{}}
		for name, r := range m.has[typ] {
			req.InitialResourceVersions[name] = r.Version
		}
		req.ResourceNamesSubscribe = slices.Sorted(maps.Keys(m.asked[typ]))
		if typ == resource.ClusterType || typ == resource.ListenerType || len(req.ResourceNamesSubscribe) > 0 {
			m.s.request(req, m.now)
		}
	}
}

func (m *model) receive() {
	for r := m.s.next(m.now); r != nil; r = m.s.next(m.now) {
		m.t.Log("sent", r)
		m.unread = append(m.unread, r)
		for _, x := range r.resources {
			m.gated(x)
			if _, sent := m.sentAt[x.Name]; x.Type == resource.ClusterType && !sent {
				m.sentAt[x.Name] = m.now
			}
		}
	}
}

// gated checks that routes are sent only when the clusters that they newly name are warm, rejected, or out of time.
func (m *model) gated(r *translator.Resource) {
	m.t.Helper()
	if r.Type != resource.RouteType {
		return
	}
	had := m.has[r.Type][r.Name]
	for _, n := range r.Needs {
		switch at, sent := m.sentAt[n.Name]; {
		case m.warm[n.Name], m.rejected[n.Name], had != nil && slices.Contains(had.Needs, n):
		case !sent || m.now.Before(at.Add(m.s.limits.warm)):
			m.t.Fatalf("routes %s@%s are sent while their cluster %s is cold", r.Name, r.Version, n.Name)
		}
	}
}

// heat notes what is warm after these resources have been accepted or finally rejected.
func (m *model) heat(resources ...*translator.Resource) {
	present := map[translator.Name]bool{}
	for _, r := range resources {
		present[nameOf(r)] = true
	}
	for n, waits := range m.warming {
		cold := false
		for w := range waits {
			cold = cold || !present[w]
		}
		if n.Type == resource.ClusterType && !cold {
			m.warm[n.Name] = true
		}
	}
}

// read handles the oldest response as Envoy does: clusters and listeners one by one, other types all or nothing.
func (m *model) read() {
	if len(m.unread) == 0 {
		return
	}
	r := m.unread[0]
	m.unread = m.unread[1:]
	m.t.Log("read", r)
	typ := r.subscription.url
	var rejected []string
	for _, x := range r.resources {
		if m.passesOver(x) {
			continue
		}
		if bad(x) {
			rejected = append(rejected, x.Name)
			m.rejected[x.Name] = m.rejected[x.Name] || typ == resource.ClusterType
		}
	}
	if len(rejected) == 0 || r.subscription.brings {
		for _, name := range r.removed {
			m.remove(typ, name)
		}
		for _, x := range r.resources {
			if !bad(x) {
				m.apply(x)
			}
		}
	}
	m.heat(r.resources...)
	answer := &discovery.DeltaDiscoveryRequest{TypeUrl: typ, ResponseNonce: fmt.Sprint(r.seq)}
	if len(rejected) > 0 {
		answer.ErrorDetail = &status.Status{Message: "something is wrong"}
		if r.subscription.brings && m.random.IntN(2) == 0 {
			answer.ErrorDetail.Message = "Error adding: " + strings.Join(rejected, ": no, ") + ": no"
		}
	}
	m.s.request(answer, m.now)
	m.resubscribe()
}

// passesOver notes a secret, and reports whether it has the same bytes as noted before.
func (m *model) passesOver(r *translator.Resource) bool {
	if r.Type != resource.SecretType {
		return false
	}
	body := string(r.Body())
	same := m.noted[r.Name] == body
	m.noted[r.Name] = body
	return same
}

func (m *model) apply(r *translator.Resource) {
	m.t.Helper()
	if r.Type == resource.RouteType {
		for _, n := range r.Needs {
			if m.has[n.Type][n.Name] == nil && !m.rejected[n.Name] {
				m.t.Fatalf("routes %s@%s name cluster %s, which the proxy does not have", r.Name, r.Version, n.Name)
			}
		}
	}
	if r.Type == resource.ClusterType {
		delete(m.rejected, r.Name)
	}
	was := m.has[r.Type][r.Name]
	m.has[r.Type][r.Name] = r
	if k, _, _ := traitOf(r.Type); k.brings {
		if was != nil && was.Version == r.Version {
			return
		}
		waits := map[translator.Name]bool{}
		for _, n := range r.Needs {
			if n.Type == resource.EndpointType || n.Type == resource.RouteType {
				waits[n] = true
			}
		}
		m.warming[nameOf(r)] = waits
		return
	}
	for _, waits := range m.warming {
		delete(waits, nameOf(r))
	}
}

func (m *model) remove(typ, name string) {
	m.t.Helper()
	if typ == resource.ClusterType {
		for _, r := range m.has[resource.RouteType] {
			if slices.Contains(r.Needs, translator.Name{Type: typ, Name: name}) {
				m.t.Fatalf("cluster %s is removed while routes %s@%s name it", name, r.Name, r.Version)
			}
		}
	}
	delete(m.has[typ], name)
	if typ == resource.ClusterType {
		delete(m.warm, name)
		delete(m.sentAt, name)
	}
	delete(m.warming, translator.Name{Type: typ, Name: name})
	for _, waits := range m.warming {
		delete(waits, translator.Name{Type: typ, Name: name})
	}
}

// resubscribe subscribes to what the model's clusters and listeners need, and to nothing else.
func (m *model) resubscribe() {
	needs := map[string]map[string]bool{resource.EndpointType: {}, resource.SecretType: {}, resource.RouteType: {}}
	for _, typ := range []string{resource.ClusterType, resource.ListenerType} {
		for _, r := range m.has[typ] {
			for _, n := range r.Needs {
				needs[n.Type][n.Name] = true
			}
		}
	}
	for _, typ := range subscriptions {
		want, ok := needs[typ]
		if !ok || maps.Equal(want, m.asked[typ]) {
			continue
		}
		req := &discovery.DeltaDiscoveryRequest{TypeUrl: typ}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if !m.asked[typ][name] {
				req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, name)
			}
		}
		for name := range m.asked[typ] {
			if !want[name] {
				req.ResourceNamesUnsubscribe = append(req.ResourceNamesUnsubscribe, name)
				delete(m.has[typ], name)
				if typ == resource.SecretType {
					delete(m.noted, name)
				}
			}
		}
		m.asked[typ] = want
		m.s.request(req, m.now)
	}
}

// mutate publishes a random change that is consistent: routes name existing clusters.
func (m *model) mutate(version int) {
	cluster := func() string { return fmt.Sprintf("c%d", m.random.IntN(5)) }
	at := fmt.Sprint(version)
	if m.random.IntN(6) == 0 {
		at += "!"
	}
	switch m.random.IntN(6) {
	case 0, 1:
		c := cluster()
		texts := []string{fmt.Sprintf("CDS %s@%s EDS:%s SDS:s", c, at, c)}
		if m.f.get(named("EDS:"+c)) == nil {
			texts = append(texts, fmt.Sprintf("EDS %s@%d", c, version))
		}
		m.publish(texts...)
	case 2:
		if c := cluster(); m.f.get(named("CDS:"+c)) != nil {
			m.publish(fmt.Sprintf("EDS %s@%s", c, at))
		}
	case 3:
		l := m.random.IntN(2)
		m.publish(fmt.Sprintf("LDS l%d@%s RDS:r%d SDS:s", l, at, l))
	case 4:
		m.publish(fmt.Sprintf("SDS s@%s", at))
	default:
		m.routes(at)
	}
}

// routes publishes routes to some of the clusters, perhaps for both listeners, and may remove a cluster that no route
// names any longer.
func (m *model) routes(at string) {
	which := m.random.IntN(3)
	all := slices.Sorted(maps.Keys(m.f.resources[resource.ClusterType]))
	m.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	used := all[:m.random.IntN(len(all)+1)]
	texts := []string{"RDS r0@" + at, "RDS r1@" + strings.TrimSuffix(at, "!")}
	for _, c := range used {
		i := m.random.IntN(2)
		texts[i] += " CDS:" + c
	}
	if which < 2 {
		texts = texts[which : which+1]
	}
	m.publish(texts...)
	if len(used) == len(all) || m.random.IntN(2) == 0 {
		return
	}
	gone := translator.Name{Type: resource.ClusterType, Name: all[len(all)-1]}
	for _, r := range m.f.resources[resource.RouteType] {
		if slices.Contains(r.Needs, gone) {
			return
		}
	}
	m.publish("-CDS:"+gone.Name, "-EDS:"+gone.Name)
}

// rest lets everything finish, and checks that the proxy has what the fleet has, unless it rejects it, and waits for
// nothing.
func (m *model) rest() {
	m.t.Helper()
	for range 60 {
		for range 60 {
			m.receive()
			m.read()
		}
		m.after(time.Second)
	}
	for _, typ := range []string{resource.ClusterType, resource.ListenerType} {
		for name := range m.f.resources[typ] {
			m.upToDate(translator.Name{Type: typ, Name: name})
		}
		for name := range m.has[typ] {
			if m.f.resources[typ][name] == nil && !m.everBad() {
				m.t.Fatalf("the proxy still has %s %s", typ, name)
			}
		}
	}
	for typ, names := range m.asked {
		for name := range names {
			m.upToDate(translator.Name{Type: typ, Name: name})
		}
	}
	m.nothingWaits()
	if k := m.s.subscription(resource.SecretType); k != nil {
		for name, h := range k.have {
			if has := m.has[k.url][name]; h.acked != nil && (has == nil || has.Version != h.acked.Version) {
				m.t.Fatalf("secret %s@%s counts as acknowledged, but %v is in effect", name, h.acked.Version, has)
			}
		}
	}
}

// upToDate checks that the proxy has the fleet's version, unless it rejects that.
func (m *model) upToDate(n translator.Name) {
	m.t.Helper()
	r, has := m.f.get(n), m.has[n.Type][n.Name]
	if r != nil && !bad(r) && (has == nil || has.Version != r.Version) {
		m.t.Fatalf("the proxy has %v under %v, want version %s", has, n, r.Version)
	}
}

func (m *model) nothingWaits() {
	m.t.Helper()
	for n, waits := range m.warming {
		for w := range waits {
			if r := m.f.get(w); r != nil && !bad(r) {
				m.t.Fatalf("%v waits for %v for ever", n, w)
			}
		}
	}
	if len(m.s.warmth.by) > 0 && len(m.s.warmth.cold) == 0 || m.s.warmth.unseen != 0 {
		m.t.Fatalf("the list of cold clusters is out of step: %+v", m.s.warmth)
	}
}

// everBad reports whether the proxy rejects something now, and so may keep forever what it has.
func (m *model) everBad() bool {
	for _, byName := range m.f.resources {
		for _, r := range byName {
			if bad(r) {
				return true
			}
		}
	}
	return false
}

func playHistory(t *testing.T, seed uint64, steps int) {
	m := newModel(t, seed)
	m.publish("SDS s@1", "LDS l0@1 RDS:r0", "LDS l1@1 RDS:r1", "RDS r0@1", "RDS r1@1")
	for step := range steps {
		switch m.random.IntN(8) {
		case 0, 1:
			m.mutate(step + 2)
		case 2, 3:
			m.receive()
		case 4, 5, 6:
			m.read()
		default:
			switch m.random.IntN(6) {
			case 0:
				m.connect()
			default:
				m.after(time.Duration(m.random.IntN(2500)) * time.Millisecond)
			}
		}
	}
	m.rest()
}

// After any events in any order, no route names a missing cluster, and in the end the proxy has everything.
func TestAnyHistory(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playHistory(t, seed, 150) })
	}
}

func FuzzHistory(f *testing.F) {
	f.Add(uint64(1), uint16(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) { playHistory(t, seed, int(steps)%500) })
}
