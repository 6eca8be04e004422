package xds

import (
	"fmt"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// large is a session of a proxy that has n clusters with endpoints, all named by one RouteConfiguration.
func large(n int) (f *fleet, s *session, routes string) {
	f = newFleet("ns/gw")
	st := &stream{awake: make(chan struct{}, 1)}
	st.session = newSession(f, limits{grace: 5 * time.Second, warm: time.Second})
	f.streams[st] = struct{}{}
	texts := []string{"LDS l@1 RDS:r"}
	var needs strings.Builder
	for i := range n {
		texts = append(texts, fmt.Sprintf("CDS c%d@1 EDS:c%d", i, i), fmt.Sprintf("EDS c%d@1", i))
		fmt.Fprintf(&needs, " CDS:c%d", i)
	}
	f.publish(delta("ns/gw", append(texts, "RDS r@0"+needs.String())...)[0], time.Unix(0, 0))
	return f, st.session, needs.String()
}

// drain sends everything and lets the proxy acknowledge it.
func drain(s *session, now time.Time) {
	for r := s.next(now); r != nil; r = s.next(now) {
		s.request(&discovery.DeltaDiscoveryRequest{TypeUrl: r.subscription.url, ResponseNonce: fmt.Sprint(r.seq)}, now)
	}
}

func ready(n int) (*fleet, *session, string) {
	f, s, needs := large(n)
	now := time.Unix(0, 0)
	s.request(&discovery.DeltaDiscoveryRequest{TypeUrl: short["CDS"]}, now)
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: short["EDS"]}
	for i := range n {
		req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, fmt.Sprintf("c%d", i))
	}
	s.request(req, now)
	s.request(&discovery.DeltaDiscoveryRequest{TypeUrl: short["LDS"]}, now)
	s.request(&discovery.DeltaDiscoveryRequest{TypeUrl: short["RDS"], ResourceNamesSubscribe: []string{"r"}}, now)
	drain(s, now)
	return f, s, needs
}

// BenchmarkRoute measures one more version of the routes of a proxy with 10,000 clusters, from publication to
// acknowledgement, without the network.
func BenchmarkRoute(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, s, needs := ready(n)
			versions := delta("ns/gw", "RDS r@1"+needs)[0].Changed[0]
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				r := *versions
				r.Version = fmt.Sprint(i)
				d := delta("ns/gw")[0]
				d.Changed = append(d.Changed, &r)
				f.publish(d, time.Unix(int64(i), 0))
				drain(s, time.Unix(int64(i), 0))
			}
		})
	}
}

// BenchmarkConnect measures a new proxy that gets 10,000 clusters with their endpoints.
func BenchmarkConnect(b *testing.B) {
	for range b.N {
		ready(10_000)
	}
}

// BenchmarkClusterLeaves measures a cluster that is added to and removed from a proxy with 10,000 others.
func BenchmarkClusterLeaves(b *testing.B) {
	f, s, needs := ready(10_000)
	now := time.Unix(0, 0)
	for i := range b.N {
		f.publish(delta("ns/gw", "CDS x@1", fmt.Sprintf("RDS r@a%d%s CDS:x", i, needs))[0], now)
		drain(s, now)
		d := delta("ns/gw", fmt.Sprintf("RDS r@b%d%s", i, needs))[0]
		d.Removed = append(d.Removed, named("CDS:x"))
		f.publish(d, now)
		drain(s, now)
		now = now.Add(6 * time.Second)
		drain(s, now)
	}
}
