package xds

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusters "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"gatehouse/translator"
)

// tokens are the bearer tokens that the servers of the tests accept, with their identities.
type tokens map[string]Identity

func (ids tokens) authenticate(_ context.Context, token string) (Identity, error) {
	if token == "outage" {
		return Identity{}, status.Error(codes.Unavailable, "the API server is away")
	}
	id, ok := ids[token]
	if !ok {
		return Identity{}, fmt.Errorf("token %q is not known", token)
	}
	return id, nil
}

var ours = tokens{
	"token-gw":    {Subject: "sa:gw", Fleets: []string{"ns/gw"}},
	"token-other": {Subject: "sa:other", Fleets: []string{"ns/other"}},
}

// served is a server that listens in memory.
type served struct {
	t *testing.T
	*Server
	listener *bufconn.Listener
}

func serveInMemory(t *testing.T, c Config) *served {
	if c.Authenticate == nil {
		c.Authenticate = ours.authenticate
	}
	c.Log = logr.Discard()
	s := &served{t: t, Server: New(c), listener: bufconn.Listen(1 << 20)}
	g := s.serve()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := g.Serve(s.listener); err != nil {
			t.Errorf("serving: %v", err)
		}
	}()
	t.Cleanup(func() { g.Stop(); <-stopped })
	return s
}

func (s *served) dial(token string) *grpc.ClientConn {
	s.t.Helper()
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string,
			next grpc.Streamer, opts ...grpc.CallOption,
		) (grpc.ClientStream, error) {
			return next(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), d, cc, method, opts...)
		}))
	if err != nil {
		s.t.Fatalf("dialling: %v", err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// envoy is a scripted proxy on a real gRPC stream.
type envoy struct {
	t    *testing.T
	node *corev3.Node
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (s *served) connect(token, fleet, node string) *envoy {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(s.dial(token)).DeltaAggregatedResources(ctx)
	if err != nil {
		s.t.Fatalf("opening a stream: %v", err)
	}
	return &envoy{s.t, &corev3.Node{Id: node, Cluster: fleet}, stream}
}

func (e *envoy) ask(typ string, names ...string) {
	e.t.Helper()
	e.request(&discovery.DeltaDiscoveryRequest{TypeUrl: short[typ], ResourceNamesSubscribe: names})
}

func (e *envoy) request(req *discovery.DeltaDiscoveryRequest) {
	e.t.Helper()
	req.Node = e.node
	if err := e.Send(req); err != nil {
		e.t.Fatalf("sending a request: %v", err)
	}
}

// want reads one response, checks it and acknowledges it.
func (e *envoy) want(line string) {
	e.t.Helper()
	r, err := e.Recv()
	if err != nil {
		e.t.Fatalf("waiting for %q: %v", line, err)
	}
	got := letters(r.GetTypeUrl())
	for _, x := range r.GetResources() {
		got += fmt.Sprintf(" %s@%s", x.GetName(), x.GetVersion())
	}
	for _, name := range r.GetRemovedResources() {
		got += " -" + name
	}
	if got != line {
		e.t.Fatalf("the proxy got %q, want %q", got, line)
	}
	e.request(&discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

func (e *envoy) wantEnd(code codes.Code) string {
	e.t.Helper()
	for {
		if _, err := e.Recv(); err != nil {
			if code == codes.OK && err.Error() == "EOF" {
				return ""
			}
			if status.Code(err) != code {
				e.t.Fatalf("the stream ended with %v, want code %v", err, code)
			}
			return status.Convert(err).Message()
		}
	}
}

func delta(fleet string, texts ...string) []translator.Delta {
	d := translator.Delta{Fleet: fleet}
	for _, text := range texts {
		d.Changed = append(d.Changed, res(text))
	}
	return []translator.Delta{d}
}

func TestSyncedOpensTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveInMemory(t, Config{})
		e := s.connect("token-gw", "ns/gw", "pod")
		e.ask("CDS")
		s.Publish(delta("ns/gw", "CDS a@1"))
		synctest.Wait()
		if got := s.Debug()[0].Proxies[0].Types[0].Unanswered; len(got) != 0 {
			t.Fatalf("%d responses were sent before the first complete sync, want none", len(got))
		}
		s.Publish(delta("ns/gw", "CDS b@1"))
		s.Synced()
		e.want("CDS a@1 b@1")
	})
}

func TestFleetsAreApart(t *testing.T) {
	s := serveInMemory(t, Config{})
	s.Publish(delta("ns/gw", "CDS a@1", "SDS s@1"))
	s.Publish(delta("ns/other", "CDS b@1", "SDS s@2"))
	s.Synced()
	one, other := s.connect("token-gw", "ns/gw", "pod"), s.connect("token-other", "ns/other", "pod")
	one.ask("CDS")
	one.want("CDS a@1")
	one.ask("SDS", "s")
	one.want("SDS s@1")
	other.ask("CDS")
	other.want("CDS b@1")
	other.ask("SDS", "s")
	other.want("SDS s@2")
}

func TestDenied(t *testing.T) {
	tests := map[string]struct {
		token, fleet, node string
		code               codes.Code
		says               string
	}{
		"a fleet of another": {
			"token-gw", "ns/other", "pod", codes.PermissionDenied,
			`node.cluster "ns/other" is not a Gateway of sa:gw`,
		},
		"no fleet":            {"token-gw", "", "pod", codes.PermissionDenied, `node.cluster "" is not`},
		"no node id":          {"token-gw", "ns/gw", "", codes.InvalidArgument, "node.id"},
		"an unknown token":    {"forged", "ns/gw", "pod", codes.Unauthenticated, "not accepted"},
		"no token":            {"", "ns/gw", "pod", codes.Unauthenticated, "not a bearer token"},
		"tokens unverifiable": {"outage", "ns/gw", "pod", codes.Unavailable, "cannot be checked"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			s := serveInMemory(t, Config{Metrics: registry})
			s.Publish(delta("ns/gw", "CDS a@1"))
			s.Synced()
			e := s.connect(tc.token, tc.fleet, tc.node)
			_ = e.Send(&discovery.DeltaDiscoveryRequest{Node: e.node, TypeUrl: short["CDS"]})
			if got := e.wantEnd(tc.code); !strings.Contains(got, tc.says) {
				t.Errorf("the stream ended with %q, want it to say %q", got, tc.says)
			}
			denied := tc.code == codes.PermissionDenied || tc.code == codes.Unauthenticated
			if got := counter(t, registry, "gatehouse_xds_denied_total") > 0; got != denied {
				t.Errorf("counted as denied: %t, want %t", got, denied)
			}
		})
	}
}

func counter(t *testing.T, from prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestClusterCannotChangeOnAStream(t *testing.T) {
	s := serveInMemory(t, Config{})
	s.Synced()
	e := s.connect("token-gw", "ns/gw", "pod")
	e.ask("CDS")
	e.node = &corev3.Node{Id: "pod", Cluster: "ns/other"}
	e.ask("SDS", "s")
	e.wantEnd(codes.PermissionDenied)
}

// A method that is not served does not bypass the check of the token.
func TestEveryMethodIsAuthenticated(t *testing.T) {
	s := serveInMemory(t, Config{})
	for token, code := range map[string]codes.Code{"token-gw": codes.Unimplemented, "forged": codes.Unauthenticated} {
		conn := s.dial(token)
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		_, err := clusters.NewClusterDiscoveryServiceClient(conn).FetchClusters(ctx, &discovery.DiscoveryRequest{})
		if status.Code(err) != code {
			t.Errorf("FetchClusters with %s: %v, want %v", token, err, code)
		}
		sotw, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(t.Context())
		if err == nil {
			_, err = sotw.Recv()
		}
		if status.Code(err) != code {
			t.Errorf("StreamAggregatedResources with %s: %v, want %v", token, err, code)
		}
	}
}

func TestStreamEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := tokens{"short": {Subject: "sa", Fleets: []string{"ns/gw"}, Expires: time.Now().Add(time.Minute)}}
		s := serveInMemory(t, Config{Authenticate: ids.authenticate})
		s.Publish(delta("ns/gw", "CDS a@1"))
		s.Synced()
		e := s.connect("short", "ns/gw", "pod")
		e.ask("CDS")
		e.want("CDS a@1")
		begin := time.Now()
		e.wantEnd(codes.OK)
		if got := time.Since(begin); got != time.Minute {
			t.Errorf("the stream ended after %v, want %v", got, time.Minute)
		}
		again := s.connect("short", "ns/gw", "pod")
		again.wantEnd(codes.Unauthenticated)
	})
}

func TestCloseSendsProxiesElsewhere(t *testing.T) {
	s := serveInMemory(t, Config{})
	e := s.connect("token-gw", "ns/gw", "pod")
	e.ask("CDS")
	s.Close()
	e.wantEnd(codes.Unavailable)
}

func TestFirstRequestOfManyMegabytes(t *testing.T) {
	s := serveInMemory(t, Config{})
	s.Publish(delta("ns/gw", "EDS a@1"))
	s.Synced()
	e := s.connect("token-gw", "ns/gw", "pod")
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: short["EDS"], InitialResourceVersions: map[string]string{}}
	for i := range 50_000 {
		name := fmt.Sprintf("%0200d", i)
		req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, name)
		req.InitialResourceVersions[name] = "1"
	}
	req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, "a")
	e.request(req)
	e.want("EDS a@1")
}

// TestFloodIsTurnedAway: one message with very many short names is rejected before the session stores anything.
func TestFloodIsTurnedAway(t *testing.T) {
	s := serveInMemory(t, Config{})
	s.Synced()
	e := s.connect("token-gw", "ns/gw", "pod")
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: short["EDS"]}
	for i := range 2*sizeLimit/nameSize + 1 {
		req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, strconv.Itoa(i))
	}
	p := newScript(t)
	if !p.s.floods(req) || p.s.size > 0 {
		t.Errorf("%d names in a message are taken", len(req.ResourceNamesSubscribe))
	}
	e.request(req)
	if _, err := e.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the stream ends with %v", err)
	}
}

func TestGreedyProxyIsTurnedAway(t *testing.T) {
	s := serveInMemory(t, Config{})
	s.Synced()
	e := s.connect("token-gw", "ns/gw", "pod")
	for i := range 100 {
		req := &discovery.DeltaDiscoveryRequest{Node: e.node, TypeUrl: short["EDS"]}
		for j := range 10_000 {
			req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, fmt.Sprint(i, "/", j))
		}
		if err := e.Send(req); err != nil {
			break
		}
	}
	e.wantEnd(codes.ResourceExhausted)
}

// Types without resources in any fleet are ignored: nothing is stored for them, and the proxy gets the others.
func TestMadeUpTypesAreNotHeld(t *testing.T) {
	s := serveInMemory(t, Config{})
	s.Publish(delta("ns/gw", "CDS a@1"))
	s.Synced()
	e := s.connect("token-gw", "ns/gw", "pod")
	for i := range 100 {
		e.request(&discovery.DeltaDiscoveryRequest{
			TypeUrl:                fmt.Sprintf("made.up/Type%d", i),
			ResourceNamesSubscribe: []string{"x"},
		})
	}
	e.ask("CDS")
	e.want("CDS a@1")
	if types := s.Debug()[0].Proxies[0].Types; len(types) != 1 {
		t.Errorf("types are held: %+v", types)
	}
}

func TestNodeIDIsBounded(t *testing.T) {
	s := serveInMemory(t, Config{})
	e := s.connect("token-gw", "ns/gw", strings.Repeat("x", nodeLimit+1))
	e.ask("CDS")
	e.wantEnd(codes.InvalidArgument)
}

// A pod that opens stream after stream loses its own oldest ones.
func TestStreamsOfAPodAreBounded(t *testing.T) {
	s := serveInMemory(t, Config{Authenticate: func(_ context.Context, token string) (Identity, error) {
		return Identity{Subject: "sa:gw", Pod: token, Fleets: []string{"ns/gw"}}, nil
	}})
	s.Publish(delta("ns/gw", "CDS a@1"))
	s.Synced()
	other := s.connect("other", "ns/gw", "other")
	other.ask("CDS")
	other.want("CDS a@1")
	var streams []*envoy
	for i := range connectionsLimit + 3 {
		e := s.connect("greedy", "ns/gw", fmt.Sprint("made-up-", i))
		e.ask("CDS")
		e.want("CDS a@1")
		streams = append(streams, e)
	}
	for _, e := range streams[:3] {
		e.wantEnd(codes.ResourceExhausted)
	}
	s.Publish(delta("ns/gw", "CDS a@2"))
	for _, e := range append(streams[3:], other) {
		e.want("CDS a@2")
	}
}

// A connection may have a few open calls before it is authenticated.
func TestCallsOfAConnectionAreBounded(t *testing.T) {
	s := serveInMemory(t, Config{Authenticate: func(ctx context.Context, _ string) (Identity, error) {
		<-ctx.Done()
		return Identity{}, ctx.Err()
	}})
	client := discovery.NewAggregatedDiscoveryServiceClient(s.dial("made up"))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i := range callsPerConnection {
		if _, err := client.DeltaAggregatedResources(ctx); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	for range 100 { // Calls are not limited until the server has announced its limit.
		short, done := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := client.DeltaAggregatedResources(short)
		done()
		if status.Code(err) == codes.DeadlineExceeded {
			return
		}
	}
	t.Error("calls are not bounded")
}

func TestDeadProxyDelaysNobody(t *testing.T) {
	s := serveInMemory(t, Config{WarmLimit: time.Millisecond})
	s.Publish(delta("ns/gw", "CDS a@1"))
	s.Synced()
	dead, alive := s.connect("token-gw", "ns/gw", "dead"), s.connect("token-gw", "ns/gw", "alive")
	dead.ask("CDS")
	alive.ask("CDS")
	alive.want("CDS a@1")
	for i := range 50 {
		r := res(fmt.Sprintf("CDS a@%d", i+2))
		r.Pieces = [][]byte{make([]byte, 1<<20)}
		s.Publish([]translator.Delta{{Fleet: "ns/gw", Changed: []*translator.Resource{r}}})
		alive.want(fmt.Sprintf("CDS a@%d", i+2))
	}
}

// reports collects the reports of a server.
type reports struct {
	mu  sync.Mutex
	got []string
}

func (r *reports) report(p translator.Proxy, connected bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, fmt.Sprintf("%s %s %v %v %v %v %d", p.Fleet, p.Node, connected, p.Listeners, p.Routes, p.Secrets,
		len(p.Rejected)))
}

func (r *reports) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reports
		s := serveInMemory(t, Config{Report: r.report})
		want := func(lines ...string) {
			t.Helper()
			if diff := cmp.Diff(lines, r.take()); diff != "" {
				t.Fatalf("reports other than wanted (-want +got):\n%s", diff)
			}
		}
		s.Publish(delta("ns/gw", "LDS l@1 RDS:r", "RDS r@1", "SDS s@1"))
		s.Synced()
		e := s.connect("token-gw", "ns/gw", "pod")
		e.ask("LDS")
		want("ns/gw pod true map[] map[] map[] 0")
		e.want("LDS l@1")
		want("ns/gw pod true map[l:1] map[] map[] 0")
		e.ask("RDS", "r")
		e.want("RDS r@1")
		want("ns/gw pod true map[l:1] map[r:true] map[] 0")
		s.Publish(delta("ns/gw", "RDS r@2"))
		e.want("RDS r@2")
		want()

		again := s.connect("token-gw", "ns/gw", "pod")
		again.request(&discovery.DeltaDiscoveryRequest{
			TypeUrl:                 short["LDS"],
			InitialResourceVersions: map[string]string{"l": "1"},
		})
		want("ns/gw pod true map[l:1] map[] map[] 0")
		_ = e.CloseSend()
		want()
		_ = again.CloseSend()
		want("ns/gw pod false map[l:1] map[] map[] 0")
		if len(s.reporters) != 0 || len(s.Debug()[0].Proxies) != 0 {
			t.Errorf("%d reporters and %d proxies remain of a proxy that has left, want none", len(s.reporters),
				len(s.Debug()[0].Proxies))
		}
	})
}

func TestFleetsThatWentAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveInMemory(t, Config{})
		s.Publish(delta("ns/gw", "CDS a@1"))
		s.Synced()
		e := s.connect("token-gw", "ns/gw", "pod")
		e.ask("CDS")
		e.want("CDS a@1")
		s.Publish([]translator.Delta{{Fleet: "ns/gw", Gone: true}})
		synctest.Wait()
		if got := len(s.Debug()); got != 1 {
			t.Fatalf("%d fleets while a proxy is connected, want 1", got)
		}
		_ = e.CloseSend()
		synctest.Wait()
		if got := len(s.Debug()); got != 0 {
			t.Fatalf("%d fleets remain, want none", got)
		}
	})
}

func TestMetricsHaveFewLabels(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := serveInMemory(t, Config{Metrics: registry, Authenticate: pods})
	s.Publish(delta("ns/gw", "CDS a@1"))
	s.Synced()
	for i := range 10 {
		e := s.connect(fmt.Sprintf("sa/pod-%d", i), "ns/gw", fmt.Sprintf("pod-%d", i))
		e.ask("CDS")
		e.want("CDS a@1")
		e.request(&discovery.DeltaDiscoveryRequest{
			TypeUrl:                fmt.Sprintf("type.googleapis.com/made.up.Type%d", i),
			ResourceNamesSubscribe: []string{"x"},
		})
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if got := len(f.GetMetric()); got > 2 {
			t.Errorf("metric %s has %d series, want one for clusters and one for all made-up types", f.GetName(), got)
		}
	}
}
