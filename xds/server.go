package xds

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gatehouse/translator"
)

// Config is what a Server needs. Authenticate is required.
type Config struct {
	// Authenticate tells who holds a bearer token. An error with the gRPC code Unavailable says that it cannot be told now; any other
	// error refuses the token.
	Authenticate func(ctx context.Context, token string) (Identity, error)
	// Confirm is Authenticate for the token of a stream that goes on, so that strangers who have tokens checked do not keep it from being checked. It
	// is Authenticate if not set.
	Confirm func(ctx context.Context, token string) (Identity, error)
	// Report, if set, is called when what a proxy has acknowledged or refused changes, with the latest state, and with connected false
	// when the proxy's last stream has ended. Calls for one proxy come one after the other; those for different proxies may overlap.
	Report func(p translator.Proxy, connected bool)
	// Grace is how long a cluster or secret stays on a proxy after its last use, 5 s if zero. It is also how long
	// a proxy that shows no sign of having read a new cluster holds up the routes to it.
	Grace time.Duration
	// WarmLimit is how long a route waits for a new cluster's endpoints and secrets to be acknowledged, and a response for the
	// answer to the one before it, 1 s if zero.
	WarmLimit time.Duration
	// Review is how often the token of a stream is authenticated again, 3 minutes if zero. The stream ends if it is refused.
	Review time.Duration
	// Remembered is how many refused parts of resources are remembered of a fleet, 4096 if zero. What is refused beyond that is told of its resource.
	Remembered int
	// Memory is how many bytes may be held for all proxies together: requests, what they name beyond what their fleets have, and responses that
	// they have not read. It is 256 MiB if zero. When it does not suffice, a connection of the subject that takes the most ends.
	Memory int
	// Metrics registers the server's metrics, if set.
	Metrics prometheus.Registerer
	Log     logr.Logger
}

// Server delivers what is published to the proxies. All its methods may be called from any goroutine.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer

	config  Config
	limits  limits
	log     logr.Logger
	metrics *metrics
	synced  atomic.Bool
	peers   *peers
	closed  context.Context
	end     context.CancelFunc

	mu        sync.Mutex
	fleets    map[string]*fleet
	reporters map[proxyKey]*reporter
}

type proxyKey struct{ fleet, node string }

const (
	// nodeLimit is the longest node.id, in bytes; a pod's name has 253 at most.
	nodeLimit = 512
	// firstLimit is how long a stream may take until its first request is there.
	firstLimit = 10 * time.Second
)

// New returns a server that knows no fleet yet.
func New(c Config) *Server {
	s := &Server{
		config: c, log: c.Log, metrics: newMetrics(c.Metrics),
		limits: limits{grace: c.Grace, warm: c.WarmLimit}, peers: newPeers(c.Memory, c.Log),
		fleets: map[string]*fleet{}, reporters: map[proxyKey]*reporter{},
	}
	if s.limits.grace == 0 {
		s.limits.grace = 5 * time.Second
	}
	if s.config.Confirm == nil {
		s.config.Confirm = c.Authenticate
	}
	if s.config.Review == 0 {
		s.config.Review = 3 * time.Minute
	}
	if s.limits.warm == 0 {
		s.limits.warm = time.Second
	}
	s.closed, s.end = context.WithCancel(context.Background())
	return s
}

// Publish takes over changes; what it is given must not be changed afterwards. It waits for no proxy. The first delta of a fleet, and the first one
// after Gone, holds all that the fleet has.
func (s *Server) Publish(deltas []translator.Delta) {
	now := time.Now()
	for _, d := range deltas {
		s.fleet(d.Fleet).publish(d, now)
		if d.Gone {
			s.drop(d.Fleet)
		}
	}
}

// Synced lets the proxies have what is published. Before it nothing is sent, since what is not known yet would look like removed.
func (s *Server) Synced() {
	s.synced.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.fleets {
		f.wakeAll()
	}
}

// Close ends all streams, so that the proxies connect to another replica, and refuses new ones. They keep what they have.
func (s *Server) Close() {
	s.end()
}

// StreamAggregatedResources says that the state-of-the-world variant is not served.
func (s *Server) StreamAggregatedResources(stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return unserved(nil, stream)
}

// DeltaAggregatedResources serves one proxy until it leaves, its token expires or the server is closed.
func (s *Server) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	id, ok := stream.Context().Value(proofKey{}).(proof)
	if !ok {
		return status.Error(codes.Unauthenticated, "the call was not authenticated")
	}
	st := newStream(stream, id)
	go st.receive(id.connection.serve())
	first, err := s.first(st)
	if err != nil {
		return err
	}
	node := first.request.GetNode()
	if node.GetId() == "" {
		return status.Error(codes.InvalidArgument, "the first request has no node.id; set it to the name of the pod")
	}
	if len(node.GetId()) > nodeLimit {
		return status.Errorf(codes.InvalidArgument, "the node.id has %d characters; set it to the name of the pod", len(node.GetId()))
	}
	if !id.Mine(node.GetCluster()) {
		s.metrics.denied.Inc()
		s.log.Info("refused a proxy", "subject", id.Subject, "node", node.GetId(), "cluster", brief(node.GetCluster()))
		return status.Errorf(codes.PermissionDenied, "node.cluster %q is not a Gateway of %s; set it to namespace/name of the Gateway that the service account is for", node.GetCluster(), id.Subject)
	}
	st.node = node.GetId()
	return s.run(st, first)
}

// first waits for the first request of a stream.
func (s *Server) first(st *stream) (*incoming, error) {
	late := time.NewTimer(firstLimit)
	defer late.Stop()
	select {
	case in := <-st.requests:
		return in, nil
	case err := <-st.receiving:
		return nil, err
	case err := <-st.identity.connection.over:
		return nil, err
	case <-late.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no request is there %v after the call; send the first one, with node.id, at once", firstLimit)
	case <-s.closed.Done():
		return nil, errStopping
	}
}

// fleet returns the fleet with the key, making it if need be.
func (s *Server) fleet(key string) *fleet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fleetLocked(key)
}

func (s *Server) fleetLocked(key string) *fleet {
	f := s.fleets[key]
	if f == nil {
		f = newFleet(key)
		f.room = cmp.Or(s.config.Remembered, f.room)
		s.fleets[key] = f
	}
	return f
}

// drop forgets a fleet that has neither resources nor proxies.
func (s *Server) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fleets[key]
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.known && len(f.streams) == 0 {
		delete(s.fleets, key)
	}
}

// enter adds a stream to its fleet, leave takes it out.
func (s *Server) enter(st *stream, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fleetLocked(key)
	st.session = newSession(f, s.limits)
	f.mu.Lock()
	f.streams[st] = struct{}{}
	f.mu.Unlock()
	proxy := proxyKey{key, st.node}
	st.reporter = s.reporters[proxy]
	if st.reporter == nil {
		st.reporter = newReporter(s.config.Report, func() { s.dropReporter(proxy) })
		s.reporters[proxy] = st.reporter
	}
	st.reporter.join(st)
	s.metrics.streams.Inc()
}

func (s *Server) leave(st *stream) {
	s.metrics.streams.Dec()
	f := st.session.fleet
	f.mu.Lock()
	delete(f.streams, st)
	f.mu.Unlock()
	s.drop(f.key)
}

// dropReporter forgets the reporter of a proxy that has left, once its leaving is reported.
func (s *Server) dropReporter(proxy proxyKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.reporters[proxy]; r != nil && r.spent() {
		delete(s.reporters, proxy)
	}
}
