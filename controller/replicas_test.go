package controller

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"gatehouse/translator"
)

// table collects events into the state that a replica's tables would have.
type table struct {
	mu      sync.Mutex
	proxies map[string]translator.Proxy
}

func (t *table) put(events ...translator.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range events {
		if e.Deleted {
			delete(t.proxies, nodeKey(*e.Proxy))
		} else {
			t.proxies[nodeKey(*e.Proxy)] = *e.Proxy
		}
	}
}

func (t *table) nodes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	nodes := []string{}
	for _, p := range t.proxies {
		nodes = append(nodes, p.Node)
	}
	slices.Sort(nodes)
	return nodes
}

func newReplica(self string, leader func() string, admit string) (*Replicas, *table) {
	t := &table{proxies: map[string]translator.Proxy{}}
	return NewReplicas(ReplicaOptions{
		Self: self, Put: t.put, Client: http.DefaultClient, Log: logr.Discard(),
		Leader: func(context.Context) (string, error) { return leader(), nil },
		Token:  func() (string, error) { return self, nil },
		Admit: func(_ context.Context, token string) error {
			if token != admit {
				return errors.New("not a replica")
			}
			return nil
		},
	}), t
}

// TestLeaderKnowsAllProxies: an acknowledgement of a proxy to any replica reaches the leader, and disappears with the
// replica.
func TestLeaderKnowsAllProxies(t *testing.T) {
	leader, tables := newReplica("one", func() string { return "" }, "two")
	server := httptest.NewServer(leader)
	defer server.Close()
	follower, own := newReplica("two", func() string { return server.URL }, "")

	refused := translator.Proxy{Fleet: "n/g", Node: "b", Rejected: map[translator.Name]string{{
		Type: "t",
		Name: "x y",
	}: "no"}}
	leader.Report(translator.Proxy{Fleet: "n/g", Node: "a"}, true)
	follower.Report(refused, true)
	follower.Report(translator.Proxy{Fleet: "n/g", Node: "c"}, true)
	if err := follower.tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, tables.nodes()); diff != "" {
		t.Errorf("the leader's proxies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(refused, tables.proxies["n/g|b"]); diff != "" {
		t.Errorf("the proxy at the leader (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"b", "c"}, own.nodes()); diff != "" {
		t.Errorf("the follower's proxies (-want +got):\n%s", diff)
	}

	follower.Report(translator.Proxy{Fleet: "n/g", Node: "c"}, false)
	if err := follower.tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, tables.nodes()); diff != "" {
		t.Errorf("after a disconnect (-want +got):\n%s", diff)
	}
	leader.forgetSilent(time.Now().Add(silence + time.Second))
	if diff := cmp.Diff([]string{"a"}, tables.nodes()); diff != "" {
		t.Errorf("after the follower fell silent (-want +got):\n%s", diff)
	}
}

// TestStrangersAreNotReplicas: a client without a replica's token cannot make a Gateway look programmed.
func TestStrangersAreNotReplicas(t *testing.T) {
	leader, tables := newReplica("one", func() string { return "" }, "two")
	server := httptest.NewServer(leader)
	defer server.Close()
	stranger, _ := newReplica("stranger", func() string { return server.URL }, "")
	stranger.Report(translator.Proxy{Fleet: "n/g", Node: "b"}, true)
	if err := stranger.tell(t.Context()); err == nil {
		t.Error("a stranger's report was taken")
	}
	if got := tables.nodes(); len(got) != 0 {
		t.Errorf("the leader's proxies: %v, want none", got)
	}
}

// TestTheLatestNewsOfAProxyCounts: two replicas know a proxy for a while after it has moved. Repeated reports of its
// former replica do not override those of the new one, and the proxy exists until the last replica has lost it.
func TestTheLatestNewsOfAProxyCounts(t *testing.T) {
	now := time.Now()
	at := func(version string) translator.Proxy {
		return translator.Proxy{Fleet: "n/g", Node: "p", Listeners: map[string]string{"l": version}}
	}
	type step func(r *Replicas)
	local := func(version string) step { return func(r *Replicas) { r.Report(at(version), true) } }
	leave := func(r *Replicas) { r.Report(at(""), false) }
	remote := func(name string, versions ...string) step {
		report := replicaReport{Replica: name}
		for _, v := range versions {
			report.Proxies = append(report.Proxies, at(v))
		}
		return func(r *Replicas) { r.accept(report, now) }
	}
	late := func(name string) step {
		return func(r *Replicas) {
			r.remote[name].seen = now.Add(-silence)
			r.forgetSilent(now.Add(time.Second))
		}
	}
	const gone = "gone"
	for name, c := range map[string]struct {
		steps []step
		want  string
	}{
		"comes to the leader":                   {[]step{remote("a", "1"), local("2"), remote("a", "1")}, "2"},
		"came to the leader, and a lets it go":  {[]step{remote("a", "1"), local("2"), remote("a")}, "2"},
		"came to the leader, and a is silent":   {[]step{remote("a", "1"), local("2"), late("a")}, "2"},
		"leaves the leader":                     {[]step{local("1"), remote("a", "2")}, "2"},
		"left the leader, which notices":        {[]step{local("1"), remote("a", "2"), leave}, "2"},
		"moves from a to b":                     {[]step{remote("a", "1"), remote("b", "2"), remote("a", "1")}, "2"},
		"moved from a to b, and a lets it go":   {[]step{remote("a", "1"), remote("b", "2"), remote("a")}, "2"},
		"moved from a to b, and a is silent":    {[]step{remote("a", "1"), remote("b", "2"), late("a")}, "2"},
		"moved to b and back, and b lets it go": {[]step{remote("a", "1"), remote("b", "2"), remote("b")}, "1"},
		"moved to b and back, with news": {[]step{
			remote("a", "1"), remote("b", "2"), remote("a", "3"),
			remote("b", "2"),
		}, "3"},
		"moved twice, and the first notices": {[]step{
			remote("a", "1"), remote("b", "2"), local("3"), remote("a"),
			remote("b", "2"),
		}, "3"},
		"is let go by all": {[]step{
			remote("a", "1"), remote("b", "2"), local("3"), remote("a"), leave,
			remote("b"),
		}, gone},
		"is let go by all, the last is silent": {[]step{local("1"), remote("a", "1"), leave, late("a")}, gone},
	} {
		t.Run(name, func(t *testing.T) {
			leader, tables := newReplica("leader", func() string { return "" }, "")
			leader.Put = func(events ...translator.Event) {
				if leader.mu.TryLock() {
					t.Error("an event is put without the mutex, so another may overtake it")
					leader.mu.Unlock()
				}
				tables.put(events...)
			}
			for _, do := range c.steps {
				do(leader)
			}
			got := gone
			if p, has := tables.proxies["n/g|p"]; has {
				got = p.Listeners["l"]
			}
			if got != c.want {
				t.Errorf("the tables have the proxy with %s, want %s", got, c.want)
			}
		})
	}
}

// TestRepetitionsAreNoEvents: the regular reports of a replica cause no work if nothing has changed.
func TestRepetitionsAreNoEvents(t *testing.T) {
	leader, _ := newReplica("leader", func() string { return "" }, "")
	events := 0
	leader.Put = func(more ...translator.Event) { events += len(more) }
	for range 3 {
		leader.accept(replicaReport{Replica: "a", Proxies: []translator.Proxy{{
			Fleet: "n/g", Node: "p",
			Routes: map[string]bool{"r": true},
		}}}, time.Now())
	}
	if events != 1 {
		t.Errorf("%d events of three equal reports, want 1", events)
	}
}
