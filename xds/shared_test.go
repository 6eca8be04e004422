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
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/translator"
)

// guardedConfig is a route configuration in which routes rest on filters, unless guard is empty: one for each word.
func guardedConfig(t *testing.T, guard string, names ...string) *translator.Resource {
	t.Helper()
	return guardedConfigOf(t, "r", guard, names...)
}

func guardedConfigOf(t *testing.T, config, guard string, names ...string) *translator.Resource {
	t.Helper()
	message := &routev3.RouteConfiguration{Name: config}
	for i, word := range strings.Fields(guard) {
		if i == 0 {
			message.TypedPerFilterConfig = map[string]*anypb.Any{}
		}
		message.TypedPerFilterConfig[fmt.Sprint("filter", i)] = &anypb.Any{TypeUrl: word}
	}
	for _, name := range names {
		message.VirtualHosts = append(message.VirtualHosts, &routev3.VirtualHost{
			Name:   name,
			Routes: []*routev3.Route{{Name: name}},
		})
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return &translator.Resource{
		Type: resource.RouteType, Name: config, Version: guard + ":" + strings.Join(names, ","),
		Pieces: [][]byte{body},
	}
}

// careful is a proxy that rejects whatever has a route or a filter with "!" in it, with words that tell nothing.
type careful struct {
	*script
	guard string
	runs  []string
	asked int
}

func newCareful(t *testing.T) *careful {
	p := &careful{script: newScript(t)}
	p.ask("RDS", "r")
	return p
}

func (p *careful) publish(r *translator.Resource) {
	p.f.publish(translator.Delta{Fleet: "ns/gw", Changed: []*translator.Resource{r}}, p.now)
}

// step answers what is sent, at most so often.
func (p *careful) step(most int) {
	p.t.Helper()
	for range most {
		r := p.s.next(p.now)
		if r == nil {
			return
		}
		p.asked++
		config := &routev3.RouteConfiguration{}
		if err := proto.Unmarshal(r.resources[0].Body(), config); err != nil {
			p.t.Fatal(err)
		}
		var names []string
		for _, host := range config.VirtualHosts {
			names = append(names, host.Name)
		}
		guard := strings.TrimSpace(config.TypedPerFilterConfig["filter0"].GetTypeUrl() + " " +
			config.TypedPerFilterConfig["filter1"].GetTypeUrl())
		req := &discovery.DeltaDiscoveryRequest{TypeUrl: resource.RouteType, ResponseNonce: strconv.FormatUint(r.seq, 10)}
		if strings.Contains(guard+strings.Join(names, ","), "!") {
			req.ErrorDetail = &status.Status{Code: 13, Message: "no"}
		} else {
			p.guard, p.runs = guard, names
		}
		p.s.request(req, p.now)
	}
}

// TestTrialOfWhatRoutesRestOn: if a proxy rejects what routes rest on, nothing new is served until there is another; it
// is found at once, even among other suspects.
func TestTrialOfWhatRoutesRestOn(t *testing.T) {
	for _, c := range []struct {
		had, has []string // The guard, and routes.
		want     []string
		guilty   int
		most     int // Responses at most.
	}{
		// It alone came into question.
		{[]string{"old", "a"}, []string{"!new", "a"}, []string{"old", "a"}, 1, 1},
		// With new routes, which must not be served without it.
		{[]string{"old", "a"}, []string{"!new", "a", "b", "c"}, []string{"old", "a"}, 1, 2},
		{[]string{"", "a"}, []string{"!new", "a", "b"}, []string{"", "a"}, 1, 2}, // There was none before.
		// A fresh proxy gets nothing.
		{nil, []string{"!new", "a", "b"}, []string{""}, 1, 2},
		// A route is rejected, and not what it rests on.
		{[]string{"old", "a"}, []string{"new", "a", "!b", "c"}, []string{"new", "a", "c"}, 1, 5},
		// While a part is missing, older routes have what they rest on.
		{[]string{"old", "a"}, []string{"", "a", "!b", "c"}, []string{"old", "a", "c"}, 1, 3},
		{[]string{"old", "a"}, []string{"new", "a", "b"}, []string{"new", "a", "b"}, 0, 1},
		// One of two is rejected, and routes need both.
		{[]string{"old", "a"}, []string{"new !bad", "a", "b"}, []string{"new", "a"}, 1, 4},
		{[]string{"old", "a"}, []string{"!new !bad", "a", "b"}, []string{"old", "a"}, 2, 4}, // Both of them.
		{nil, []string{"new !bad", "a"}, []string{"new"}, 1, 4},
	} {
		p := newCareful(t)
		if c.had != nil {
			p.publish(guardedConfig(t, c.had[0], c.had[1:]...))
			p.step(10)
		}
		before := p.asked
		p.publish(guardedConfig(t, c.has[0], c.has[1:]...))
		p.step(100)
		if got := append([]string{p.guard}, p.runs...); !slices.Equal(got, c.want) {
			t.Errorf("%q, then %q: the proxy runs %q, want %q", c.had, c.has, got, c.want)
		}
		if got := p.asked - before; got > c.most {
			t.Errorf("%q, then %q took %d responses, want at most %d", c.had, c.has, got, c.most)
		}
		if len(p.f.guilty) != c.guilty {
			t.Errorf("%q: %d parts are held against the fleet, want %d", c.has, len(p.f.guilty), c.guilty)
		}
		p.publish(guardedConfig(t, "mended", "a", "z"))
		p.step(100)
		if p.guard != "mended" || !slices.Equal(p.runs, []string{"a", "z"}) {
			t.Errorf("%q, then %q: the proxy runs %q and %q after all is mended", c.had, c.has, p.guard, p.runs)
		}
	}
}

// TestRoutesNeverLackWhatTheyRestOn: whatever is published while trials are on, no route is served with fewer filters
// than it was published with; and in the end the proxy runs what is good.
func TestRoutesNeverLackWhatTheyRestOn(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		wanted, fewest := map[string]bool{}, map[string]int{}
		p := newCareful(t)
		for version := range 15 {
			for range 1 + r.IntN(4) {
				name := fmt.Sprintf("r%d", r.IntN(20))
				if r.IntN(8) == 0 {
					name = "!" + name
				}
				if r.IntN(3) == 0 {
					delete(wanted, name)
				} else {
					wanted[name] = true
				}
			}
			guard := []string{
				"", fmt.Sprint("g", version), "!bad", "steady", fmt.Sprint("g !h", version),
				fmt.Sprint("g h", version),
			}[r.IntN(6)]
			if version == 14 {
				guard = "last two"
				maps.DeleteFunc(wanted, func(name string, _ bool) bool { return strings.Contains(name, "!") })
			}
			for name := range wanted {
				if n, ok := fewest[name]; !ok || len(strings.Fields(guard)) < n {
					fewest[name] = len(strings.Fields(guard))
				}
			}
			p.publish(guardedConfig(t, guard, slices.Sorted(maps.Keys(wanted))...))
			p.now = p.now.Add(time.Millisecond)
			for range r.IntN(8) {
				p.step(1)
				for _, name := range p.runs {
					if len(strings.Fields(p.guard)) < fewest[name] {
						t.Fatalf("seed %d: the proxy runs %s with %q, and it has always rested on %d filters", seed, name, p.guard,
							fewest[name])
					}
				}
			}
		}
		p.step(1000)
		if want := slices.Sorted(maps.Keys(wanted)); p.guard != "last two" ||
			!slices.Equal(slices.Sorted(slices.Values(p.runs)), want) {
			t.Fatalf("seed %d: in the end the proxy runs %q and %q, want %q", seed, p.guard, p.runs, want)
		}
	}
}

// TestTrialsOfSeveralResourcesEnd: a proxy rejects a response as a whole, with words that tell nothing of which of its
// route configurations it means. All rest on what it rejects, and each has new routes.
func TestTrialsOfSeveralResourcesEnd(t *testing.T) {
	p := newScript(t)
	publish := func(guard string, names ...string) {
		p.f.publish(translator.Delta{Fleet: "ns/gw", Changed: []*translator.Resource{
			guardedConfigOf(t, "r", guard, names...), guardedConfigOf(t, "s", guard, names...),
		}}, p.now)
	}
	asked := 0
	step := func() {
		for r := p.s.next(p.now); r != nil; r = p.s.next(p.now) {
			if asked++; asked > 50 {
				t.Fatal("the session does not come to rest")
			}
			req := &discovery.DeltaDiscoveryRequest{TypeUrl: resource.RouteType, ResponseNonce: strconv.FormatUint(r.seq, 10)}
			for _, res := range r.resources {
				if strings.Contains(string(res.Body()), "!") {
					req.ErrorDetail = &status.Status{Code: 13, Message: "no"}
				}
			}
			p.s.request(req, p.now)
		}
	}
	publish("", "a")
	p.ask("RDS", "r", "s")
	step()
	publish("!new", "a", "b", "c")
	step()
	if len(p.f.guilty) != 1 {
		t.Errorf("after %d responses %v are held against the fleet", asked, p.f.guilty)
	}
}
