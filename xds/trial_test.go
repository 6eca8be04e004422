package xds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"gatehouse/translator"
)

// routesOf makes a route configuration of routes, each with its own host: "a" is good, and picky proxies reject "!a".
func routesOf(t *testing.T, names ...string) *translator.Resource {
	t.Helper()
	config := &routev3.RouteConfiguration{Name: "r"}
	for _, name := range names {
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{
			Name:   name,
			Routes: []*routev3.Route{{Name: name}},
		})
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return &translator.Resource{
		Type: resource.RouteType, Name: "r", Version: strings.Join(names, ","),
		Pieces: [][]byte{body},
	}
}

// picky is a proxy that rejects everything with a route with "!" in its name, with a message without details. In the
// end it has runs.
type picky struct {
	*script
	runs  []string
	asked int
}

func newPicky(t *testing.T, r *translator.Resource) *picky {
	p := &picky{script: newScript(t)}
	p.f.publish(translator.Delta{Fleet: "ns/gw", Changed: []*translator.Resource{r}}, p.now)
	p.ask("RDS", "r")
	return p
}

// one answers the next response; it returns false if there is none.
func (p *picky) one() bool {
	p.t.Helper()
	r := p.s.next(p.now)
	if r == nil {
		return false
	}
	p.asked++
	var names []string
	for _, part := range r.resources[0].Parts() {
		names = append(names, part.Name)
	}
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: resource.RouteType, ResponseNonce: strconv.FormatUint(r.seq, 10)}
	if slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "!") }) {
		req.ErrorDetail = &status.Status{Code: 13, Message: "no"}
	} else {
		p.runs = names
	}
	p.s.request(req, p.now)
	return true
}

// step answers everything that is sent.
func (p *picky) step() {
	p.t.Helper()
	for range 1000 {
		if !p.one() {
			return
		}
	}
	p.t.Fatal("the session does not come to rest")
}

func TestTrialFindsTheRejectedRoutes(t *testing.T) {
	for _, c := range []struct {
		had, has, want []string
		most           int // The maximum number of responses.
	}{
		{[]string{"a"}, []string{"a", "!b"}, []string{"a"}, 1},                   // One suspect; the proxy has the rest.
		{[]string{"a"}, []string{"a", "!b", "c"}, []string{"a", "c"}, 3},         // Halves with one each.
		{nil, []string{"a", "b", "c", "!d"}, []string{"a", "b", "c"}, 5},         // A new proxy.
		{[]string{"x"}, []string{"!a", "!b", "!c", "!d", "x"}, []string{"x"}, 7}, // All of several.
		{[]string{"x", "y"}, []string{"!a", "y"}, []string{"y"}, 2},              // One is removed meanwhile.
		{[]string{"x"}, []string{"x"}, []string{"x"}, 0},
	} {
		p := newPicky(t, routesOf(t, c.had...))
		p.step()
		before := p.asked
		p.f.publish(translator.Delta{Fleet: "ns/gw", Changed: []*translator.Resource{routesOf(t, c.has...)}}, p.now)
		p.step()
		if !slices.Equal(p.runs, c.want) {
			t.Errorf("%v, then %v: the proxy runs %v, want %v", c.had, c.has, p.runs, c.want)
		}
		if got := p.asked - before; got > c.most {
			t.Errorf("%v, then %v took %d responses, want at most %d", c.had, c.has, got, c.most)
		}
		bad := len(c.has) - len(c.want)
		if len(p.f.guilty) != bad || len(p.s.snapshot("node").Guilty) != bad {
			t.Errorf("%v: %d parts are held against the fleet, %v reported, want %d", c.has, len(p.f.guilty),
				p.s.snapshot("node").Guilty, bad)
		}
	}
}

// TestTrialUnderChange: after any publications during trials, in the end the proxy runs exactly the good routes, and
// exactly the rejected ones are known. No route that the proxy runs and should keep is removed in between.
func TestTrialUnderChange(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		wanted := map[string]bool{}
		change := func() []string {
			for range 1 + r.IntN(5) {
				name := fmt.Sprintf("r%d", r.IntN(30))
				if r.IntN(6) == 0 {
					name = "!" + name
				}
				if r.IntN(3) == 0 {
					delete(wanted, name)
				} else {
					wanted[name] = true
				}
			}
			return slices.Sorted(maps.Keys(wanted))
		}
		p := newPicky(t, routesOf(t, change()...))
		if r.IntN(2) == 0 {
			p.step()
		}
		for range 12 {
			names := change()
			p.f.publish(translator.Delta{Fleet: "ns/gw", Changed: []*translator.Resource{routesOf(t, names...)}}, p.now)
			p.now = p.now.Add(time.Millisecond)
			var kept []string
			for _, name := range p.runs {
				if wanted[name] {
					kept = append(kept, name)
				}
			}
			for range r.IntN(4) {
				p.one()
				for _, name := range kept {
					if !slices.Contains(p.runs, name) {
						t.Fatalf("seed %d: route %s was taken from the proxy, which runs %v", seed, name, p.runs)
					}
				}
			}
		}
		p.step()
		var good, bad []string
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			if strings.HasPrefix(name, "!") {
				bad = append(bad, name)
			} else {
				good = append(good, name)
			}
		}
		if !slices.Equal(p.runs, good) {
			t.Fatalf("seed %d: the proxy runs %v, want %v", seed, p.runs, good)
		}
		for _, part := range routesOf(t, slices.Concat(good, bad)...).Parts() {
			if _, guilty := p.f.guilty[part.Hash]; guilty != strings.HasPrefix(part.Name, "!") {
				t.Fatalf("seed %d: %s is held against the fleet: %t", seed, part.Name, guilty)
			}
		}
	}
}

// crowd is a proxy that rejects routes with "!" in their name, and a translation in which rejected routes fail closed.
type crowd struct {
	*picky
	routes []string
	known  int
}

// publish is the translation of the routes: they change when their rule is rejected, or when enough rules of their
// owner are.
func (c *crowd) publish() {
	rejected, byOwner := map[string]bool{}, map[string]int{}
	for _, p := range routesOf(c.t, c.routes...).Parts() {
		x := suspectOf(p)
		if _, guilty := c.f.guilty[p.Hash]; guilty && !rejected[x.rule] {
			rejected[x.rule] = true
			byOwner[x.owner]++
		}
	}
	names := make([]string, len(c.routes))
	for i, name := range c.routes {
		x := suspectOf(translator.Part{Name: name})
		if names[i] = name; rejected[x.rule] || byOwner[x.owner] >= rulesRejected {
			names[i] = strings.ReplaceAll(name, "!", "500-")
		}
	}
	c.known = len(c.f.guilty)
	c.f.publish(translator.Delta{Fleet: "ns/gw", Changed: []*translator.Resource{routesOf(c.t, names...)}}, c.now)
}

// add publishes one more route.
func (c *crowd) add(route string) {
	c.routes = append(c.routes, route)
	c.publish()
}

// rounds answers responses until done, with a maximum number.
func (c *crowd) rounds(most int, done func() bool) (rounds int) {
	c.t.Helper()
	for ; !done(); rounds++ {
		if !c.one() {
			return rounds
		}
		if rounds > most {
			c.t.Fatalf("after %d rounds the end has not come", rounds)
		}
		if len(c.f.guilty) != c.known {
			c.publish()
		}
	}
	return rounds
}

// TestManyRejectedOwners: if many routes of a tenant are rejected, the number of rejections grows with the number of
// the routes, not with that of their rules, and the routes of others are accepted at once meanwhile.
func TestManyRejectedOwners(t *testing.T) {
	const owners, rules = 100, 16
	c := &crowd{
		picky:  newPicky(t, routesOf(t, "httproute/good/r/rule/0/match/0/h")),
		routes: []string{"httproute/good/r/rule/0/match/0/h"},
	}
	c.step()
	for owner := range owners {
		for rule := range rules {
			c.routes = append(c.routes, fmt.Sprintf("grpcroute/bad/r%d/rule/%d/match/0/!h", owner, rule))
		}
	}
	c.publish()
	before := c.asked
	for i, after := range []int{0, 5, 30, 60} {
		c.rounds(after, func() bool { return c.asked-before >= after })
		route := fmt.Sprintf("httproute/team%d/r/rule/0/match/0/h", i)
		c.add(route)
		if took := c.rounds(4, func() bool { return slices.Contains(c.runs, route) }); !slices.Contains(c.runs, route) {
			t.Errorf("the route of another tenant that came after %d rounds is not taken after %d more", after, took)
		}
	}
	c.rounds(2*patience+owners+20, func() bool { return false })
	if got, most := c.asked-before, 2*patience+owners+20; got > most {
		t.Errorf("it took %d responses, want at most %d", got, most)
	}
	if len(c.runs) != len(c.routes) || slices.ContainsFunc(c.runs,
		func(name string) bool { return strings.Contains(name, "!") }) {
		t.Errorf("of %d routes the proxy runs %d", len(c.routes), len(c.runs))
	}
	if got := len(c.f.guilty); got > owners*rulesRejected {
		t.Errorf("%d parts are held against the fleet", got)
	}
}

// TestNoRoomForRejectedParts: when the fleet's memory is full, the proxy runs without the parts that it rejects, and
// accepts the rest.
func TestNoRoomForRejectedParts(t *testing.T) {
	p := newPicky(t, routesOf(t, "a"))
	p.step()
	for i := range guiltyLimit {
		p.f.convict(fmt.Sprint("gone ", i), "", p.now)
	}
	p.f.forgotten = p.now
	for _, c := range []struct{ has, want []string }{
		{[]string{"!b", "!c", "a", "d"}, []string{"a", "d"}},
		{[]string{"!b", "!c", "a", "d", "e"}, []string{"a", "d", "e"}},
		{[]string{"!c", "a", "b", "e"}, []string{"a", "b", "e"}},
	} {
		p.f.publish(translator.Delta{Fleet: "ns/gw", Changed: []*translator.Resource{routesOf(t, c.has...)}}, p.now)
		p.step()
		if !slices.Equal(p.runs, c.want) {
			t.Errorf("%v: the proxy runs %v, want %v", c.has, p.runs, c.want)
		}
		if p.s.snapshot("node").Rejected[translator.Name{Type: resource.RouteType, Name: "r"}] == "" {
			t.Errorf("%v: the rejection is not told", c.has)
		}
	}
	p.f.publish(translator.Delta{Fleet: "ns/gw", Changed: []*translator.Resource{routesOf(t, "a", "f")}}, p.now)
	p.step()
	if rejected := p.s.snapshot("node").Rejected; len(rejected) > 0 || len(p.s.parked) > 0 {
		t.Errorf("in the end %v is rejected, %v parked", rejected, p.s.parked)
	}
}
