package xds

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/translator"
)

// The rate limit service asks for its configuration in the state-of-the-world variant of ADS, and shows a certificate
// in place of a token. Each response has all limits. It gets the next one when it has answered the one before.

// asksForCertificates lets clients show a certificate. One that is not the rate limit service's is refused.
func (s *Server) asksForCertificates(config *tls.Config) {
	if s.config.RateLimits == nil {
		return
	}
	plain := config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := plain.Clone()
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, s.config.RateLimits()
		return c, nil
	}
}

// limiter returns the identity of the rate limit service, if the call is its.
func limiter(ctx context.Context) (Identity, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return Identity{}, false
	}
	return Identity{
		Subject: "rate limit service", Pod: p.Addr.String(), Fleets: []string{translator.RateLimitFleet},
		Expires: info.State.VerifiedChains[0][0].NotAfter,
	}, true
}

// StreamAggregatedResources serves the rate limit service until it disconnects, its certificate expires or the server is
// closed. To all others it answers that the variant is not served.
func (s *Server) StreamAggregatedResources(stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	id, ok := stream.Context().Value(proofKey{}).(proof)
	if !ok || !id.Mine(translator.RateLimitFleet) {
		return unserved(nil, stream)
	}
	st := &limitsStream{
		grpc: stream, connection: id.connection, awake: make(chan struct{}, 1),
		requests: make(chan *discovery.DiscoveryRequest), receiving: make(chan error, 1),
	}
	f := s.watch(st.awake)
	defer s.unwatch(f, st.awake)
	go st.receive(id.connection.serve())
	expired := time.NewTimer(time.Until(id.Expires))
	defer expired.Stop()
	s.log.Info("rate limit service connected", "address", id.Pod)
	defer s.log.Info("rate limit service disconnected", "address", id.Pod)
	for {
		if err := st.send(s, f); err != nil {
			return err
		}
		select {
		case request := <-st.requests:
			if err := st.take(s, request); err != nil {
				return err
			}
		case err := <-st.receiving:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-st.awake:
		case err := <-id.connection.over:
			return err
		case <-expired.C:
			return nil
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-s.closed.Done():
			return errStopping
		}
	}
}

// watch returns the fleet of the rate limit service, and has a channel signal its changes.
func (s *Server) watch(awake chan struct{}) *fleet {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fleetLocked(translator.RateLimitFleet)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers[awake] = struct{}{}
	return f
}

func (s *Server) unwatch(f *fleet, awake chan struct{}) {
	f.mu.Lock()
	delete(f.watchers, awake)
	f.mu.Unlock()
	s.drop(f.key)
}

// limitsStream is the stream of one replica of the rate limit service.
type limitsStream struct {
	grpc       discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer
	connection *connection
	awake      chan struct{}
	requests   chan *discovery.DiscoveryRequest
	receiving  chan error
	// asked reports whether the service has asked for limits. sent is the version of the last response, and number its
	// nonce. answered is the highest nonce that was answered.
	asked            bool
	sent             string
	number, answered uint64
}

// receive reads requests until the stream ends, and calls done then.
func (st *limitsStream) receive(done func()) {
	defer done()
	for {
		request, err := st.grpc.Recv()
		if err != nil {
			st.receiving <- err
			return
		}
		select {
		case st.requests <- request:
		case <-st.grpc.Context().Done():
			return
		}
	}
}

// take handles a request: the first one, or the answer to a response.
func (st *limitsStream) take(s *Server, request *discovery.DiscoveryRequest) error {
	if url := request.GetTypeUrl(); url != resource.RateLimitConfigType {
		return status.Errorf(codes.InvalidArgument, "resources of type %q are not served here: ask for %s", brief(url),
			resource.RateLimitConfigType)
	}
	st.asked = true
	if st.answered == st.number || request.GetResponseNonce() != strconv.FormatUint(st.number, 10) {
		return nil
	}
	st.answered = st.number
	if e := request.GetErrorDetail(); e != nil {
		s.metrics.rejected.WithLabelValues(limitsLabel).Inc()
		s.log.Info("rate limit service rejected the limits, and goes on with those before", "message", brief(words(e.GetMessage())))
		return nil
	}
	s.metrics.acknowledged.WithLabelValues(limitsLabel).Inc()
	return nil
}

const limitsLabel = "RateLimitConfig"

// send sends all limits if they have changed and the response before is answered.
func (st *limitsStream) send(s *Server, f *fleet) error {
	if !st.asked || st.answered < st.number || !s.synced.Load() {
		return nil
	}
	version, resources := f.limits()
	if version == st.sent {
		return nil
	}
	st.number++
	st.sent = version
	response := &discovery.DiscoveryResponse{
		VersionInfo: version, TypeUrl: resource.RateLimitConfigType, Nonce: strconv.FormatUint(st.number, 10),
	}
	size := 0
	for _, r := range resources {
		size += r.Size()
		response.Resources = append(response.Resources, &anypb.Any{TypeUrl: r.Type, Value: r.Body()})
	}
	s.metrics.responses.WithLabelValues(limitsLabel).Inc()
	s.metrics.resources.WithLabelValues(limitsLabel).Add(float64(len(resources)))
	s.metrics.bytes.WithLabelValues(limitsLabel).Add(float64(size))
	return st.connection.deliver(size, func() { s.log.Info("the rate limit service does not read its responses") },
		func() error { return st.grpc.Send(response) })
}

// limits are all limits of the fleet, by name, and their version.
func (f *fleet) limits() (version string, resources []*translator.Resource) {
	f.mu.Lock()
	defer f.mu.Unlock()
	byName := f.resources[resource.RateLimitConfigType]
	digest := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		resources = append(resources, byName[name])
		digest.Write([]byte(byName[name].Version))
	}
	return hex.EncodeToString(digest.Sum(nil)[:16]), resources
}
