package xds

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"gatehouse/translator"
)

// short maps the abbreviations in the tests to types, as in Envoy's documentation.
var short = map[string]string{
	"CDS": resource.ClusterType, "EDS": resource.EndpointType, "SDS": resource.SecretType,
	"LDS": resource.ListenerType, "RDS": resource.RouteType, "SRDS": resource.ScopedRouteType,
}

func letters(url string) string {
	for s, u := range short {
		if u == url {
			return s
		}
	}
	return url
}

// res parses a resource such as "CDS a@1 EDS:a SDS:ca": a version and its needs.
func res(text string) *translator.Resource {
	words := strings.Fields(text)
	name, version, _ := strings.Cut(words[1], "@")
	r := &translator.Resource{Type: short[words[0]], Name: name, Version: version, Pieces: [][]byte{[]byte(text)}}
	for _, w := range words[2:] {
		r.Needs = append(r.Needs, named(w))
	}
	if r.Type == resource.SecretType {
		r.Pieces = [][]byte{secretBody(name, text)}
	}
	return r
}

// secretBody is a secret with a text in place of a certificate.
func secretBody(name, text string) []byte {
	chain := &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(text)}}
	body, err := proto.Marshal(&tlsv3.Secret{
		Name: name,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: chain}},
	})
	if err != nil {
		panic(err)
	}
	return body
}

func named(text string) translator.Name {
	typ, name, _ := strings.Cut(text, ":")
	return translator.Name{Type: short[typ], Name: name}
}

// script simulates a proxy for a session, with its own clock.
type script struct {
	t    *testing.T
	f    *fleet
	s    *session
	now  time.Time
	open map[string][]*response
}

func newScript(t *testing.T) *script {
	p := &script{t: t, f: newFleet("ns/gw"), now: time.Unix(1000, 0)}
	p.reconnect()
	return p
}

// reconnect starts a new stream.
func (p *script) reconnect() {
	p.f.streams = map[*stream]struct{}{}
	st := &stream{awake: make(chan struct{}, 1)}
	st.session = newSession(p.f, limits{grace: 5 * time.Second, warm: time.Second})
	p.s = st.session
	p.f.streams[st] = struct{}{}
	p.open = map[string][]*response{}
}

// publish changes the fleet: resources in the format of res, and removals such as "-CDS:a".
func (p *script) publish(texts ...string) {
	p.t.Log("publish", texts)
	d := translator.Delta{Fleet: "ns/gw"}
	for _, text := range texts {
		if gone, ok := strings.CutPrefix(text, "-"); ok {
			d.Removed = append(d.Removed, named(gone))
		} else {
			d.Changed = append(d.Changed, res(text))
		}
	}
	p.f.publish(d, p.now)
}

// ask sends a request: names to subscribe to, "-name" to unsubscribe, "name=version" for resources from earlier
// streams.
func (p *script) ask(typ string, names ...string) {
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: short[typ], InitialResourceVersions: map[string]string{}}
	for _, n := range names {
		if gone, ok := strings.CutPrefix(n, "-"); ok {
			req.ResourceNamesUnsubscribe = append(req.ResourceNamesUnsubscribe, gone)
			continue
		}
		name, version, has := strings.Cut(n, "=")
		if has {
			req.InitialResourceVersions[name] = version
		}
		if !has || typ != "CDS" && typ != "LDS" && typ != "SRDS" {
			req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, name)
		}
	}
	p.s.request(req, p.now)
}

// ack acknowledges the oldest open response of a type; nack rejects it.
func (p *script) ack(typ string) { p.t.Helper(); p.answer(typ, nil) }

func (p *script) nack(typ, message string) {
	p.t.Helper()
	p.answer(typ, &status.Status{Code: 13, Message: message})
}

func (p *script) answer(typ string, detail *status.Status) {
	p.t.Helper()
	open := p.open[typ]
	if len(open) == 0 {
		p.t.Fatalf("the proxy has no %s response to answer", typ)
	}
	p.open[typ] = open[1:]
	p.s.request(&discovery.DeltaDiscoveryRequest{
		TypeUrl: short[typ], ResponseNonce: strconv.FormatUint(open[0].seq, 10), ErrorDetail: detail,
	}, p.now)
}

// after advances the clock.
func (p *script) after(d time.Duration) {
	p.t.Log("after", d)
	p.now = p.now.Add(d)
}

// want checks what is sent now, one line per response such as "CDS a@1 b@1 -c".
func (p *script) want(lines ...string) {
	p.t.Helper()
	if diff := cmp.Diff(lines, p.take()); diff != "" {
		p.t.Fatalf("sent other than wanted (-want +got):\n%s", diff)
	}
}

func (p *script) take() (lines []string) {
	for r := p.s.next(p.now); r != nil; r = p.s.next(p.now) {
		typ := letters(r.subscription.url)
		lines = append(lines, r.String())
		p.open[typ] = append(p.open[typ], r)
	}
	return lines
}

// String is the type and the content, such as "CDS a@1 b@1 -c".
func (r *response) String() string {
	line := letters(r.subscription.url)
	for _, x := range r.resources {
		line += fmt.Sprintf(" %s@%s", x.Name, x.Version)
	}
	for _, name := range r.removed {
		line += " -" + name
	}
	return line
}

// acknowledge acknowledges everything until nothing more is sent.
func (p *script) acknowledge() {
	p.t.Helper()
	for range 100 {
		p.take()
		idle := true
		for typ := range short {
			for len(p.open[typ]) > 0 {
				p.ack(typ)
				idle = false
			}
		}
		if idle {
			return
		}
	}
	p.t.Fatal("the session does not come to rest")
}

// serving starts a proxy with a listener, its routes to cluster a, and the cluster's endpoints.
func serving(t *testing.T) *script {
	p := newScript(t)
	p.publish("CDS a@1 EDS:a", "EDS a@1", "LDS l@1 RDS:r", "RDS r@1 CDS:a")
	p.ask("CDS")
	p.want("CDS a@1")
	p.ask("EDS", "a")
	p.want("EDS a@1")
	p.ack("EDS")
	p.ack("CDS")
	p.ask("LDS")
	p.want("LDS l@1")
	p.ask("RDS", "r")
	p.want("RDS r@1")
	p.ack("LDS")
	p.ack("RDS")
	p.want()
	return p
}

func TestNothingBeforeThePublication(t *testing.T) {
	p := newScript(t)
	p.ask("CDS")
	p.ask("EDS", "a")
	p.want()
	p.publish()
	p.want("CDS", "EDS -a")
}

func TestEmptyAnswerToAFreshProxy(t *testing.T) {
	p := newScript(t)
	p.publish()
	p.ask("CDS", "*")
	p.want("CDS")
	p.ask("LDS")
	p.want("LDS")
	p.ack("CDS")
	p.ack("LDS")
	p.want()
}

func TestRouteWaitsForItsNewCluster(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1", "RDS r@2 CDS:a CDS:b")
	p.want("CDS b@1")
	p.ack("CDS")
	p.want()
	p.ask("EDS", "b")
	p.want("EDS b@1")
	p.ack("EDS")
	p.want("RDS r@2")
}

// Envoy delays its acknowledgement of clusters while any of them warms; acknowledged endpoints are enough.
func TestEndpointsSayMoreThanTheClusterAck(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1", "RDS r@2 CDS:b")
	p.want("CDS b@1")
	p.ask("EDS", "b")
	p.want("EDS b@1")
	p.ack("EDS")
	p.want("RDS r@2")
}

// Nothing shows when Envoy has resolved the endpoints of a cluster by DNS; its acknowledgement of the cluster does not.
func TestClusterThatAsksDNSGetsTheWholeLimit(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1", "RDS r@2 CDS:b")
	p.want("CDS b@1")
	p.ack("CDS")
	p.after(999 * time.Millisecond)
	p.want()
	p.after(time.Millisecond)
	p.want("RDS r@2")
	p.ack("RDS")
	p.publish("CDS b@2", "RDS r@3 CDS:b")
	p.want("CDS b@2", "RDS r@3")
}

// What has its secrets may not have an answer of DNS.
func TestClusterThatAsksDNSGetsTheWholeLimitWithTLS(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 SDS:ca", "SDS ca@1", "RDS r@2 CDS:b")
	p.want("CDS b@1")
	p.ask("SDS", "ca")
	p.want("SDS ca@1")
	p.ack("SDS")
	p.want()
	p.after(999 * time.Millisecond)
	p.want()
	p.after(time.Millisecond)
	p.want("RDS r@2")
}

// The limit for DNS leaves room for the health check after the answer.
func TestClusterThatAsksDNSIsChecked(t *testing.T) {
	p := serving(t)
	checked := res("CDS b@1")
	checked.Warms = 700 * time.Millisecond
	p.f.publish(translator.Delta{Fleet: "ns/gw", Changed: []*translator.Resource{checked, res("RDS r@2 CDS:b")}}, p.now)
	p.want("CDS b@1")
	p.ack("CDS")
	p.after(time.Second + checked.Warms + checkMargin - time.Millisecond)
	p.want()
	p.after(time.Millisecond)
	p.want("RDS r@2")
}

// Envoy uses a cluster with a health check after its endpoints have answered, or could have. No endpoint holds others for
// longer than the grace by not answering.
func TestRouteWaitsForHealthChecks(t *testing.T) {
	for warms, wait := range map[time.Duration]time.Duration{
		700 * time.Millisecond: 700*time.Millisecond + checkMargin, time.Minute: 5 * time.Second,
	} {
		p := serving(t)
		checked := res("CDS b@1 EDS:b")
		checked.Warms = warms
		p.f.publish(translator.Delta{
			Fleet: "ns/gw", Changed: []*translator.Resource{checked, res("EDS b@1"), res("RDS r@2 CDS:b")},
		}, p.now)
		p.want("CDS b@1")
		p.ask("EDS", "b")
		p.want("EDS b@1")
		p.ack("EDS")
		p.want()
		p.after(wait - time.Millisecond)
		p.want()
		p.after(time.Millisecond)
		p.want("RDS r@2")
	}
}

func TestWarmLimitIsPaidOnce(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "RDS r@2 CDS:a CDS:b")
	p.want("CDS b@1")
	p.ack("CDS")
	p.want()
	if want := p.now.Add(time.Second); !p.s.wakeAt.Equal(want) {
		t.Fatalf("the session wakes at %v, want %v", p.s.wakeAt, want)
	}
	p.after(999 * time.Millisecond)
	p.want()
	p.after(time.Millisecond)
	p.want("RDS r@2")
	p.ack("RDS")
	p.publish("CDS b@2 EDS:b", "RDS r@3 CDS:b")
	p.want("CDS b@2", "RDS r@3")
}

func TestSilentProxyHoldsRoutesForTheGraceOnly(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "RDS r@2 CDS:b")
	p.want("CDS b@1")
	p.after(5*time.Second - 1)
	p.want()
	p.after(1)
	p.want("RDS r@2")
}

func TestLaterVersionsDoNotPutARouteOff(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1", "RDS r@2 CDS:a CDS:b")
	p.want("CDS b@1")
	p.ack("CDS")
	p.ask("EDS", "b")
	p.want("EDS b@1")
	p.publish("CDS c@1 EDS:c", "EDS c@1", "RDS r@3 CDS:a CDS:b CDS:c")
	p.want("CDS c@1")
	p.ack("EDS")
	p.want("RDS r@2")
	p.ask("EDS", "c")
	p.want("EDS c@1")
	p.ack("EDS")
	p.ack("CDS")
	p.want()
	p.ack("RDS")
	p.want("RDS r@3")
}

func TestWaitingVersionOfWhichTheClusterVanishes(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1")
	p.want("CDS b@1")
	p.publish("CDS c@1 EDS:c", "RDS r@2 CDS:c")
	p.want()
	p.publish("-CDS:c", "RDS r@3 CDS:a")
	p.want("RDS r@3")
}

// If a cluster is removed before it has endpoints, the version that waits for it is dropped too, even if the proxy
// already has the cluster.
func TestWaitingVersionOfWhichTheColdClusterVanishes(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1", "RDS r@2 CDS:b")
	p.want("CDS b@1")
	p.ack("CDS")
	p.want()
	p.after(600 * time.Millisecond)
	p.publish("-CDS:b", "-EDS:b", "CDS c@1 EDS:c", "EDS c@1", "RDS r@3 CDS:c")
	p.want("CDS c@1")
	p.ack("CDS")
	p.after(600 * time.Millisecond)
	p.want()
	p.ask("EDS", "c")
	p.want("EDS c@1")
	p.ack("EDS")
	p.want("RDS r@3")
}

func TestClusterLeavesAfterItsRoutesAndAGrace(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1")
	p.want("CDS b@1")
	p.ask("EDS", "b")
	p.acknowledge()
	p.publish("-CDS:a", "-EDS:a", "RDS r@2 CDS:b")
	p.want("RDS r@2")
	p.after(time.Minute)
	p.want()
	p.ack("RDS")
	p.want()
	p.after(5 * time.Second)
	p.want("CDS -a")
	p.ack("CDS")
	p.ask("EDS", "-a")
	p.after(time.Minute)
	p.want()
}

func TestClusterThatComesBackInTheGraceStays(t *testing.T) {
	p := serving(t)
	p.publish("-CDS:a", "RDS r@2")
	p.want("RDS r@2")
	p.ack("RDS")
	p.want()
	p.publish("CDS a@1 EDS:a")
	p.after(time.Minute)
	p.want()
}

func TestRejectedRouteKeepsTheClusterOfTheOneInUse(t *testing.T) {
	p := serving(t)
	p.publish("-CDS:a", "RDS r@2")
	p.want("RDS r@2")
	p.nack("RDS", "no")
	p.after(time.Minute)
	p.want()
	p.publish("RDS r@3")
	p.want("RDS r@3")
	p.ack("RDS")
	p.want()
	p.after(5 * time.Second)
	p.want("CDS -a")
}

func TestListenerBeforeRoutes(t *testing.T) {
	p := serving(t)
	p.publish("LDS l@2 RDS:r", "RDS r@2 CDS:a")
	p.want("LDS l@2")
	p.ack("LDS")
	p.want("RDS r@2")
}

func TestNewListenerGetsItsRoutesAtOnce(t *testing.T) {
	p := serving(t)
	p.publish("LDS m@1 RDS:s", "RDS s@1 CDS:a")
	p.want("LDS m@1")
	p.ask("RDS", "s")
	p.want("RDS s@1")
}

func TestListenerIsReplacedInOneResponse(t *testing.T) {
	p := serving(t)
	p.publish("LDS m@1 RDS:r", "-LDS:l")
	p.want("LDS m@1 -l")
}

func TestFirstListenersAreNotSplit(t *testing.T) {
	p := newScript(t)
	p.publish("CDS a@1 EDS:a", "EDS a@1", "LDS l@1", "LDS m@1 CDS:a")
	p.ask("CDS")
	p.ask("LDS")
	p.want("CDS a@1")
	p.ack("CDS")
	p.ask("EDS", "a")
	p.want("EDS a@1")
	p.ack("EDS")
	p.want("LDS l@1 m@1")
}

// Envoy waits for the endpoints and secrets of a resource that is sent again, but does not request them again.
func TestChangedClusterIsFollowedByWhatItNeeds(t *testing.T) {
	p := newScript(t)
	p.publish("CDS a@1 EDS:a SDS:ca", "EDS a@1", "SDS ca@1", "LDS l@1 SDS:cert RDS:r", "SDS cert@1", "RDS r@1")
	p.ask("CDS")
	p.ask("EDS", "a")
	p.ask("SDS", "ca")
	p.ask("LDS")
	p.ask("SDS", "cert")
	p.ask("RDS", "r")
	p.acknowledge()
	p.publish("CDS a@2 EDS:a SDS:ca")
	p.want("CDS a@2", "EDS a@1", "SDS ca@1")
	p.acknowledge()
	p.publish("LDS l@2 SDS:cert RDS:r")
	p.want("LDS l@2", "SDS cert@1")
	p.ack("LDS")
	p.want("RDS r@1")
}

func TestSubscriptionsAreAlwaysAnswered(t *testing.T) {
	p := serving(t)
	p.ask("EDS", "a")
	p.want("EDS a@1")
	p.ack("EDS")
	p.ask("EDS", "later", "a")
	p.want("EDS a@1 -later")
	p.ack("EDS")
	p.publish("EDS later@1")
	p.want("EDS later@1")
	p.ack("EDS")
	p.ask("EDS", "-later")
	p.publish("EDS later@2", "EDS a@2")
	p.want("EDS a@2")
}

func TestWildcardAndNames(t *testing.T) {
	p := newScript(t)
	p.publish("CDS a@1", "CDS b@1")
	p.ask("CDS", "a")
	p.want("CDS a@1")
	p.ack("CDS")
	p.ask("CDS", "*")
	p.want("CDS b@1")
	p.ack("CDS")
	p.ask("CDS", "-*")
	p.publish("CDS a@2", "CDS b@2")
	p.want("CDS a@2")
	p.ack("CDS")
	p.ask("CDS", "*", "-a")
	p.want("CDS a@2 b@2")
}

func TestReconnectSendsOnlyWhatChanged(t *testing.T) {
	p := serving(t)
	p.publish("CDS a@1 EDS:a", "CDS b@1 EDS:b", "EDS b@1", "LDS l@2 RDS:r")
	p.reconnect()
	p.ask("CDS", "a=1", "old=1")
	p.ask("EDS", "a=1")
	p.ask("LDS", "l=2")
	p.ask("RDS", "r=1")
	p.want("CDS b@1", "EDS a@1", "RDS r@1")
	p.ack("CDS")
	p.ask("EDS", "b")
	p.ack("EDS")
	p.want("EDS b@1")
	p.ack("EDS")
	p.ack("RDS")
	p.want()
	p.after(5 * time.Second)
	p.want("CDS -old")
}

// withUnknownRoutes is a proxy that has reconnected with an older version of its routes, so that the clusters that they
// use are unknown. The new version was sent.
func withUnknownRoutes(t *testing.T) *script {
	p := serving(t)
	p.publish("CDS b@1", "RDS r@2 CDS:b", "-CDS:a")
	p.reconnect()
	p.ask("CDS", "a=1", "b=1")
	p.ask("LDS", "l=1")
	p.ask("RDS", "r=1")
	p.want("RDS r@2")
	return p
}

// Until the proxy has accepted routes that this control plane knows, its clusters in use are unknown.
func TestReconnectKeepsClustersOfUnknownRoutes(t *testing.T) {
	p := withUnknownRoutes(t)
	p.after(time.Minute)
	p.want()
	p.ack("RDS")
	p.want()
	p.after(5 * time.Second)
	p.want("CDS -a")
}

func TestReconnectWithoutEarlierVersions(t *testing.T) {
	p := serving(t)
	p.reconnect()
	p.ask("CDS")
	p.ask("LDS")
	p.ask("RDS", "r")
	p.want("CDS a@1", "LDS l@1")
	p.ask("EDS", "a")
	p.want("EDS a@1")
	p.ack("LDS")
	p.want()
	p.ack("EDS")
	p.want("RDS r@1")
}

func TestRestartThenChangeLeavesNothingWaiting(t *testing.T) {
	p := serving(t)
	p.reconnect()
	p.ask("CDS", "a=1")
	p.ask("EDS", "a=1")
	p.ask("LDS", "l=1")
	p.ask("RDS", "r=1")
	p.acknowledge()
	p.publish("CDS a@2 EDS:a", "LDS l@2 RDS:r")
	p.want("CDS a@2", "EDS a@1", "LDS l@2")
	p.ack("LDS")
	p.want("RDS r@1")
}

// Only the version of a scope from before a restart is known. If its listener is gone, the scope is removed after its
// time, and its clusters after it.
func TestRestartWhileAScopeOutlivesItsListener(t *testing.T) {
	p := scoped(t)
	p.reconnect()
	p.ask("CDS", "a=1", "old=1")
	p.ask("EDS", "a=1")
	p.ask("LDS", "l=1", "m=1")
	p.ask("SRDS", "l/x=1", "m/y=1")
	p.want("EDS a@1", "LDS -m")
	p.acknowledge()
	p.after(59 * time.Second)
	p.want()
	p.after(time.Second)
	p.want("SRDS -m/y")
	p.after(time.Minute)
	p.want()
	p.ack("SRDS")
	p.want()
	p.after(5 * time.Second)
	p.want("CDS -old")
}

// A resource that was sent and is unanswered does not count as running on the proxy, whatever makes the session
// compare.
func TestUnansweredIsNotTakenForWhatAnUnknownProxyRuns(t *testing.T) {
	p := withUnknownRoutes(t)
	p.s.compareAll()
	p.want()
	p.nack("RDS", "no")
	p.want()
	p.after(time.Minute)
	p.want()
}

// A proxy that reads but never answers gets a limited number of responses of a type, and the latest version after it
// answers.
func TestProxyThatNeverAnswersIsNotSentForEver(t *testing.T) {
	p := serving(t)
	sent := 0
	for v := range 2 * flightLimit {
		p.publish(fmt.Sprintf("RDS r@%d CDS:a", v+2))
		sent += len(p.take())
		p.after(time.Second)
	}
	if sent != flightLimit {
		t.Fatalf("a proxy that never answers was sent %d responses, want %d", sent, flightLimit)
	}
	p.ack("RDS")
	p.want(fmt.Sprintf("RDS r@%d", 2*flightLimit+1))
}

// heap is the used size of the heap, in bytes.
func heap() int {
	runtime.GC()
	runtime.GC() // The second run also frees what earlier tests have left in pools.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A proxy is rejected before its names take much more memory than allowed, for any number of types, as subscriptions or
// as existing resources.
func TestMemoryOfAStreamIsBounded(t *testing.T) {
	p := newScript(t)
	before, named := heap(), 0
	for round := 0; !p.s.greedy(); round++ {
		for _, typ := range slices.Sorted(maps.Keys(short)) {
			req := &discovery.DeltaDiscoveryRequest{TypeUrl: short[typ], InitialResourceVersions: map[string]string{}}
			for i := range 1000 {
				name := fmt.Sprintf("%d/%d/%s", round, i, strings.Repeat("x", i%300))
				req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, name)
				req.InitialResourceVersions[strings.Clone(name)] = strings.Repeat("v", 32)
			}
			p.s.request(req, p.now)
			named += len(req.ResourceNamesSubscribe)
		}
		if round > 1000 {
			t.Fatalf("after %d names the proxy is not turned away", named)
		}
	}
	used := heap() - before
	if used > 2*sizeLimit {
		t.Errorf("%d names take %d bytes, want at most %d", named, used, 2*sizeLimit)
	}
	runtime.KeepAlive(p.s)
}

// A proxy may name the resources of the fleet, and they no longer count after the proxy has unsubscribed.
func TestNamesOfTheFleetAreNotCounted(t *testing.T) {
	p := newScript(t)
	const many = 2 * sizeLimit / nameSize
	d := translator.Delta{Fleet: "ns/gw"}
	names := make([]string, many)
	for i := range names {
		names[i] = fmt.Sprint(i)
		d.Changed = append(d.Changed, &translator.Resource{Type: resource.EndpointType, Name: names[i], Version: "1"})
	}
	p.f.publish(d, p.now)
	p.s.request(&discovery.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNamesSubscribe: names}, p.now)
	if p.s.greedy() {
		t.Errorf("a proxy that asks for the %d resources of its fleet is turned away", many)
	}
	p.f.publish(translator.Delta{Fleet: "ns/gw", Gone: true}, p.now)
	if !p.s.greedy() {
		t.Errorf("a proxy that asks for %d resources that nobody has may go on", many)
	}
	p.s.request(&discovery.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNamesUnsubscribe: names}, p.now)
	if p.s.greedy() || p.s.size != 0 {
		t.Errorf("a proxy that asks for nothing any more counts for %d bytes", p.s.size)
	}
}

func TestUnansweredClustersDoNotHoldUpTheNext(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1")
	p.want("CDS b@1")
	p.publish("CDS c@1")
	p.want()
	p.after(time.Second)
	p.want("CDS c@1")
	p.ack("CDS")
	p.ack("CDS")
	p.want()
}

func TestClustersThatAreReadDoNotHoldUpTheNext(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1")
	p.want("CDS b@1")
	p.publish("EDS a@2", "CDS c@1")
	p.want("EDS a@2")
	p.ack("EDS")
	p.want("CDS c@1")
	p.nack("CDS", "b: no")
	p.want()
	p.wantRejected(map[string]string{"CDS b": "no"})
	p.ack("CDS")
	p.want()
}

func TestChangesCoalesceWhileAProxyIsBusy(t *testing.T) {
	p := serving(t)
	p.publish("EDS a@2")
	p.want("EDS a@2")
	for v := range 1000 {
		p.publish(fmt.Sprintf("EDS a@%d", v+3))
		if len(p.s.inbox) > inboxLimit {
			t.Fatalf("%d batches wait for a busy proxy, want at most %d", len(p.s.inbox), inboxLimit)
		}
	}
	p.want()
	p.ack("EDS")
	p.want("EDS a@1002")
}

func TestFleetThatIsGoneAndComesBack(t *testing.T) {
	p := serving(t)
	p.f.publish(translator.Delta{Fleet: "ns/gw", Gone: true}, p.now)
	p.after(time.Hour)
	p.want()
	p.publish("CDS a@1 EDS:a", "EDS a@1", "LDS l@2 RDS:r", "RDS r@1 CDS:a")
	p.want("LDS l@2")
	p.ack("LDS")
	p.want("RDS r@1")
}
