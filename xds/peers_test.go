package xds

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"gatehouse/translator"
)

// pods treats every token as the token of a pod with this name: "subject/pod".
func pods(_ context.Context, token string) (Identity, error) {
	subject, _, _ := strings.Cut(token, "/")
	return Identity{Subject: subject, Pod: token, Fleets: []string{"ns/gw"}}, nil
}

// A stream without a request ends, and counts from the moment when its holder is known.
func TestSilentStreamsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveInMemory(t, Config{Authenticate: pods})
		begin := time.Now()
		s.connect("sa/silent", "ns/gw", "silent").wantEnd(codes.DeadlineExceeded)
		if took := time.Since(begin); took != firstLimit {
			t.Errorf("a stream without a request ended after %v, want %v", took, firstLimit)
		}
		var silent []*envoy
		for range connectionsLimit + 1 {
			silent = append(silent, s.connect("sa/many", "ns/gw", "many"))
			synctest.Wait()
		}
		begin = time.Now()
		silent[0].wantEnd(codes.ResourceExhausted)
		if took := time.Since(begin); took > farewell {
			t.Errorf("the oldest of too many silent streams ended after %v, want at once", took)
		}
	})
}

// A connection without authentication ends.
func TestStrangersMustProve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveInMemory(t, Config{Authenticate: pods})
		conn := s.dial("never sent")
		begin := time.Now()
		conn.Connect()
		for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
			conn.WaitForStateChange(t.Context(), state)
		}
		conn.WaitForStateChange(t.Context(), connectivity.Ready)
		if took := time.Since(begin); took != proveLimit {
			t.Errorf("the connection was open for %v, want %v", took, proveLimit)
		}
	})
}

func TestConnectionHasOneHolder(t *testing.T) {
	s := serveInMemory(t, Config{Authenticate: pods})
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, call := range []struct {
		token string
		code  codes.Code
	}{{"sa/one", codes.InvalidArgument}, {"sa/one", codes.InvalidArgument}, {"sa/other", codes.PermissionDenied}} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+call.token)
		stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		e := &envoy{t, &corev3.Node{}, stream}
		_ = e.Send(&discovery.DeltaDiscoveryRequest{Node: e.node})
		e.wantEnd(call.code)
	}
}

// deaf connects a proxy that requests clusters and reads no response, until the server waits for it.
func (s *served) deaf(token string) *envoy {
	s.t.Helper()
	e := s.connect(token, "ns/gw", token)
	e.ask("CDS")
	return e
}

// big publishes a new version of a cluster with a megabyte.
func (s *served) big(version int) {
	r := res(fmt.Sprintf("CDS a@%d", version))
	r.Pieces = [][]byte{make([]byte, 1<<20)}
	s.Publish([]translator.Delta{{Fleet: "ns/gw", Changed: []*translator.Resource{r}}})
}

func (s *served) proxies() int {
	synctest.Wait()
	return len(s.Debug()[0].Proxies)
}

// The connection of a proxy that does not read its responses ends.
func TestStreamThatIsNotReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveInMemory(t, Config{Authenticate: pods})
		s.big(1)
		s.Synced()
		s.deaf("sa/deaf")
		synctest.Wait()
		for i := range 3 {
			time.Sleep(2 * time.Second)
			s.big(i + 2)
		}
		if n := s.proxies(); n != 1 {
			t.Fatalf("%d proxies, want 1", n)
		}
		time.Sleep(readLimit)
		if n := s.proxies(); n != 0 {
			t.Errorf("%d proxies remain that read nothing", n)
		}
	})
}

// A stream to which a response is being sent ends anyway when the server ends it. It counts until it has ended.
func TestStreamsThatEndCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveInMemory(t, Config{Authenticate: pods})
		s.big(1)
		s.Synced()
		for range connectionsLimit {
			s.deaf("sa/deaf")
			synctest.Wait()
		}
		for i := range 2 {
			time.Sleep(2 * time.Second)
			s.big(i + 2)
		}
		synctest.Wait()
		for range endingLimit - connectionsLimit {
			s.deaf("sa/deaf")
			synctest.Wait()
		}
		s.connect("sa/deaf", "ns/gw", "one too many").wantEnd(codes.ResourceExhausted)
		other := s.connect("sa/other", "ns/gw", "other")
		other.ask("CDS")
		other.want("CDS a@3")
		time.Sleep(farewell)
		if n := s.proxies(); n != connectionsLimit+1 {
			t.Errorf("%d proxies, want %d of the pod that opens many connections, and another", n, connectionsLimit)
		}
		again := s.deaf("sa/deaf")
		again.want("CDS a@3")
	})
}

// stalling is a connection that sends only a few bytes.
type stalling struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *stalling) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.left -= len(b)
	left := c.left
	c.mu.Unlock()
	if left < 0 {
		return len(b), nil // It never arrives.
	}
	return c.Conn.Write(b)
}

// begins starts a request of which only this number of bytes arrives, on its own connection.
func (s *served) begins(token string, arrive int) *envoy {
	s.t.Helper()
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := s.listener.DialContext(ctx)
			return &stalling{Conn: c, left: arrive}, err
		}), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	ctx := metadata.AppendToOutgoingContext(s.t.Context(), "authorization", "Bearer "+token)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	e := &envoy{s.t, &corev3.Node{Id: token, Cluster: "ns/gw"}, stream}
	e.request(&discovery.DeltaDiscoveryRequest{
		TypeUrl:                short["EDS"],
		ResourceNamesSubscribe: []string{strings.Repeat("x", 2*arrive)},
	})
	return e
}

// All proxies share a memory limit. The largest user is ended, and another pod is not.
func TestAllConnectionsShareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, each = 8 << 20, 3 << 20
		s := serveInMemory(t, Config{Authenticate: pods, Memory: limit})
		s.Publish(delta("ns/gw", "CDS a@1"))
		s.Synced()
		honest := s.connect("honest/a", "ns/gw", "a")
		honest.ask("CDS")
		honest.want("CDS a@1")
		for i := range 8 { // Pods of one account, with one connection each: a request without its end.
			s.begins(fmt.Sprint("greedy/", i), each)
			synctest.Wait()
			if s.peers.total > limit {
				t.Fatalf("%d bytes are held, want at most %d", s.peers.total, limit)
			}
		}
		if n := len(s.peers.holders); n != 1+limit/each {
			t.Errorf("%d pods have a connection, want the honest one and %d others", n, limit/each)
		}
		other := s.connect("honest/b", "ns/gw", "b")
		other.ask("CDS")
		other.want("CDS a@1")
		s.Publish(delta("ns/gw", "CDS a@2"))
		honest.want("CDS a@2")
	})
}

// Sent responses that are not read take memory too.
func TestUnreadResponsesShareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4 << 20
		s := serveInMemory(t, Config{Authenticate: pods, Memory: limit})
		s.big(1)
		s.Synced()
		for i := range 10 {
			s.deaf(fmt.Sprint("deaf/", i))
			synctest.Wait()
		}
		if n := s.proxies(); n == 0 || n > limit>>20 {
			t.Errorf("%d proxies have a response of 1 MiB that they do not read, want at most %d", n, limit>>20)
		}
		reads := s.connect("honest/a", "ns/gw", "a")
		reads.ask("CDS")
		reads.want("CDS a@1")
		synctest.Wait()
		for _, c := range s.peers.holders["honest honest/a"] {
			if c.unsent+c.decoded+c.read > 1<<10 {
				t.Errorf("a proxy that has read all counts for %d bytes", c.size())
			}
		}
	})
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }
func (raw) Name() string                         { return "proto" }

// A request that would take much more memory than its bytes is rejected before it is decoded.
func TestRequestIsWeighedBeforeItIsDecoded(t *testing.T) {
	const size = 16 << 20
	element := func(field byte) []byte { return []byte(strings.Repeat(string([]byte{field<<3 | 2, 0}), size/2)) }
	node := append([]byte{1<<3 | 2, 0x80, 0x80, 0x80, 0x08}, element(9)...) // Extensions, 16 MiB.
	detail := append([]byte{7<<3 | 2, 0x80, 0x80, 0x80, 0x08}, element(3)...)
	for name, request := range map[string][]byte{
		"names": element(3), "unsubscribed": element(4), "locators": element(8), "extensions": node, "details": detail,
	} {
		t.Run(name, func(t *testing.T) {
			s := serveInMemory(t, Config{Authenticate: pods})
			s.Synced()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			stream, err := s.dial("sa/pod").NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
				discovery.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName, grpc.ForceCodecV2(raw{}))
			if err != nil {
				t.Fatal(err)
			}
			_ = stream.SendMsg(request)
			if err := stream.RecvMsg(nil); err == nil {
				t.Error("the request was answered")
			}
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 8*size {
				t.Errorf("a request of %d MiB took %d MiB", size>>20, took>>20)
			}
		})
	}
}

// A client that opens connections without authentication does not block clients from other addresses.
func TestStrangersAreBounded(t *testing.T) {
	const room = 16
	s := New(Config{Authenticate: pods, Memory: room * strangerSize, Log: logr.Discard()})
	s.Publish(delta("ns/gw", "CDS a@1"))
	s.Synced()
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := s.serve()
	stopped := make(chan error)
	go func() { stopped <- g.Serve(listening) }()
	defer func() {
		g.Stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}()
	// With settings that change nothing.
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	elsewhere := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}
	ended := make(chan struct{}, 100)
	for range cap(ended) {
		c, err := elsewhere.DialContext(t.Context(), "tcp", listening.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = c.Write([]byte(preface)) // It may have ended already.
		go func() {
			_, _ = io.Copy(io.Discard, c) // Until it ends.
			ended <- struct{}{}
		}()
	}
	for range cap(ended) - room {
		select {
		case <-ended:
		case <-time.After(proveLimit / 2):
			t.Fatalf("more than %d connections of strangers are open", room)
		}
	}
	conn, err := grpc.NewClient(listening.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer sa/honest")
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	e := &envoy{t, &corev3.Node{Id: "honest", Cluster: "ns/gw"}, stream}
	e.ask("CDS")
	e.want("CDS a@1")
}

// The largest accepted request fits into the default memory limit of all connections.
func TestLargestRequestHasRoom(t *testing.T) {
	request := &discovery.DeltaDiscoveryRequest{TypeUrl: short["EDS"], InitialResourceVersions: map[string]string{}}
	for i := range requestLimit / (2 * 205) {
		name := fmt.Sprintf("%0190d", i)
		request.ResourceNamesSubscribe = append(request.ResourceNamesSubscribe, name)
		request.InitialResourceVersions[name] = "0123456789"
	}
	wire, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	size, err := weigh(wire)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(wire); n > requestLimit || n < requestLimit*9/10 || 2*n+size > memoryLimit {
		t.Errorf("a request of %d MiB takes %d MiB, want at most %d", n>>20, (2*n+size)>>20, memoryLimit>>20)
	}
}

// Choosing a connection to end costs no more if there are many that use nothing.
func TestChoosingIsCheapAmongMany(t *testing.T) {
	const strangers = 2000
	took := func(quiet int) time.Duration {
		p := newPeers(16*strangerSize, logr.Discard())
		var all []*connection
		defer func() {
			for _, c := range all {
				_ = c.Close()
			}
		}()
		for i := range quiet {
			c := p.accept(nowhere(t))
			all = append(all, c)
			if err := p.prove(c, Identity{Subject: fmt.Sprint("sa", i), Pod: "pod"}); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		for range strangers {
			all = append(all, p.accept(nowhere(t)))
		}
		spent := time.Since(begin)
		if p.total > p.limit || p.total == 0 {
			t.Errorf("%d bytes are held, want at most %d", p.total, p.limit)
		}
		return spent
	}
	few := max(took(10), took(10))
	if many := min(took(5000), took(5000)); many > 10*few {
		t.Errorf("%d strangers take %v among 5000 connections, and %v among 10", strangers, many, few)
	}
}
