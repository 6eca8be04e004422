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

// routesOf makes a route configuration of routes, each with a host of its own: "a" is good, "!a" is refused by picky proxies.
func routesOf(t *testing.T, names ...string) *translator.Resource {
	t.Helper()
	config := &routev3.RouteConfiguration{Name: "r"}
	for _, name := range names {
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{Name: name, Routes: []*routev3.Route{{Name: name}}})
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return &translator.Resource{Type: resource.RouteType, Name: "r", Version: strings.Join(names, ","), Pieces: [][]byte{body}}
}

// picky is a proxy that refuses whatever has a route that begins with "!", with words that tell nothing. It has runs, in the end.
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

// one answers the next response; it is false if there is none.
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
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "!") }) {
		req.ErrorDetail = &status.Status{Code: 13, Message: "no"}
	} else {
		p.runs = names
	}
	p.s.request(req, p.now)
	return true
}

// step answers all that is sent.
func (p *picky) step() {
	p.t.Helper()
	for range 1000 {
		if !p.one() {
			return
		}
	}
	p.t.Fatal("the session does not come to rest")
}

func TestTrialFindsTheRefusedRoutes(t *testing.T) {
	for _, c := range []struct {
		had, has, want []string
		most           int // Responses at most.
	}{
		{[]string{"a"}, []string{"a", "!b"}, []string{"a"}, 1},                   // One came into question; the proxy has the rest.
		{[]string{"a"}, []string{"a", "!b", "c"}, []string{"a", "c"}, 3},         // Halves of one each.
		{nil, []string{"a", "b", "c", "!d"}, []string{"a", "b", "c"}, 5},         // A fresh proxy.
		{[]string{"x"}, []string{"!a", "!b", "!c", "!d", "x"}, []string{"x"}, 7}, // All of several.
		{[]string{"x", "y"}, []string{"!a", "y"}, []string{"y"}, 2},              // Something went at the same time.
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
			t.Errorf("%v: %d parts are held against the fleet, %v reported, want %d", c.has, len(p.f.guilty), p.s.snapshot("node").Guilty, bad)
		}
	}
}

// TestTrialUnderChange: whatever is published while trials are on, in the end the proxy runs all good routes and no other, all refused ones
// are known, and no good one is. What the proxy runs and shall keep is never taken from it in between.
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
