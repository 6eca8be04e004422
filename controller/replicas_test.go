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

// table collects events into what a replica's tables would hold.
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

// TestLeaderKnowsAllProxies: what a proxy acknowledged to any replica reaches the leader, and goes with the replica.
func TestLeaderKnowsAllProxies(t *testing.T) {
	leader, tables := newReplica("one", func() string { return "" }, "two")
	server := httptest.NewServer(leader)
	defer server.Close()
	follower, own := newReplica("two", func() string { return server.URL }, "")

	refused := translator.Proxy{Fleet: "n/g", Node: "b", Refused: map[translator.Name]string{{Type: "t", Name: "x y"}: "no"}}
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

// TestStrangersAreNotReplicas: whoever holds no replica's token cannot make a Gateway look programmed.
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
