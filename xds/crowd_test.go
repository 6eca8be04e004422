package xds

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-logr/logr"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// realNode is a node as large as that of a real Envoy 1.40, which lists 516 extensions in 61 KB.
func realNode(id, cluster string) *corev3.Node {
	n := &corev3.Node{Id: id, Cluster: cluster, UserAgentName: "envoy"}
	for i := range 516 {
		n.Extensions = append(n.Extensions, &corev3.Extension{
			Name: fmt.Sprintf("envoy.extension.%017d", i), Category: "envoy.some.category.of24",
			TypeUrls: []string{fmt.Sprintf("envoy.extensions.%036d", i)},
		})
	}
	return n
}

// Envoys of one account that connect together, as after a restart, do not close each other's connections while they
// wait for their fleet.
func TestEnvoysConnectTogether(t *testing.T) {
	const many = 100
	s := serveInMemory(t, Config{Authenticate: pods})
	s.Publish(delta("ns/gw", "CDS a@1"))
	s.Synced()
	f := s.fleet("ns/gw")
	f.mu.Lock()
	var envoys []*envoy
	for i := range many {
		e := s.connect(fmt.Sprint("sa/", i), "ns/gw", "")
		e.node = realNode(fmt.Sprint(i), "ns/gw")
		e.ask("CDS")
		envoys = append(envoys, e)
	}
	complete := func() (n int) {
		s.peers.mu.Lock()
		defer s.peers.mu.Unlock()
		for _, own := range s.peers.holders {
			for _, c := range own {
				if c.decoded > 0 && c.read == 0 {
					n++
				}
			}
		}
		return n
	}
	for deadline := time.Now().Add(10 * time.Second); complete() < many && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	waiting := complete()
	f.mu.Unlock()
	if waiting != many {
		t.Errorf("%d of %d Envoys wait for their fleet", waiting, many)
	}
	for _, e := range envoys {
		e.want("CDS a@1")
	}
}

// Only the fields that the server uses are decoded from a request.
func TestOnlyWhatIsUsedIsDecoded(t *testing.T) {
	c := newPeers(0, logr.Discard()).accept(nowhere(t))
	defer func() { _ = c.Close() }()
	in := decodedBy(t, c)
	if n := in.request.GetNode(); n.GetId() != "pod" || n.GetCluster() != "ns/gw" || len(n.GetExtensions()) != 0 ||
		n.GetUserAgentName() != "" {
		t.Errorf("of the node is decoded: %.200v", n)
	}
	if e := in.request.GetErrorDetail(); e.GetMessage() != "words" || len(e.GetDetails()) != 0 {
		t.Errorf("of the error is decoded: %v", e)
	}
	if got := in.request.GetResourceNamesSubscribe(); strings.Join(got, " ") != "a b" {
		t.Errorf("the names %q are decoded", got)
	}
	if got := in.request.GetInitialResourceVersions(); len(got) != 2 || got["b"] != "2" {
		t.Errorf("the versions %q are decoded", got)
	}
	if len(in.request.GetResourceLocatorsSubscribe()) != 0 || in.request.GetResponseNonce() != "7" ||
		in.request.GetTypeUrl() != short["EDS"] {
		t.Errorf("decoded is %.500v", &in.request)
	}
}

// nowhere is a connection without a peer.
func nowhere(t *testing.T) net.Conn {
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	return here
}

// The counted size of a connection is never negative, even if it closes while a request is handled.
func TestClosedConnectionCountsForNothing(t *testing.T) {
	p := newPeers(0, logr.Discard())
	c, other := p.accept(nowhere(t)), p.accept(nowhere(t))
	defer func() { _ = other.Close() }()
	if err := p.prove(c, Identity{Subject: "sa", Pod: "pod"}); err != nil {
		t.Fatal(err)
	}
	call, receiving := c.serve(), c.serve()
	in := &incoming{wire: 1000, size: 100}
	if !c.take(in) {
		t.Fatal("the connection has ended")
	}
	c.received(in)
	if want := strangerSize + 100; p.total != want {
		t.Errorf("a stranger and a request that is handled count for %d, want %d", p.total, want)
	}
	_ = c.Close()
	receiving()
	c.handled(in, 0)
	if p.total != strangerSize {
		t.Errorf("a stranger and a connection that has closed count for %d, want %d", p.total, strangerSize)
	}
	call()
	if p.total != strangerSize || len(p.holders) != 0 {
		t.Errorf("a stranger counts for %d and %d others are there, want %d and 0", p.total, len(p.holders), strangerSize)
	}
}

// decodedBy is a request with all fields, as the connection decodes it.
func decodedBy(t *testing.T, c *connection) *incoming {
	t.Helper()
	wire, err := proto.Marshal(&discovery.DeltaDiscoveryRequest{
		Node: realNode("pod", "ns/gw"), TypeUrl: short["EDS"], ResponseNonce: "7",
		ResourceNamesSubscribe: []string{"a", "b"}, InitialResourceVersions: map[string]string{"a": "1", "b": "2"},
		ErrorDetail:               &rpc.Status{Code: 3, Message: "words", Details: []*anypb.Any{{TypeUrl: "x"}}},
		ResourceLocatorsSubscribe: []*discovery.ResourceLocator{{Name: "x"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	in := &incoming{connection: c}
	if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, in); err != nil {
		t.Fatal(err)
	}
	return in
}
