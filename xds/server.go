package xds

import (
	"cmp"
	"context"
	"crypto/x509"
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

// Config is the configuration of a Server. Authenticate is required.
type Config struct {
	// Authenticate returns the holder of a bearer token. An error with the gRPC code Unavailable means that there is no
	// answer now; any other error rejects the token.
	Authenticate func(ctx context.Context, token string) (Identity, error)
	// Confirm is Authenticate for the token of an open stream, so that tokens of strangers do not delay its check. The
	// default is Authenticate.
	Confirm func(ctx context.Context, token string) (Identity, error)
	// RateLimits, if set, returns the CAs that sign the certificate of the rate limit service.
	RateLimits func() *x509.CertPool
	// Report, if set, is called with the latest state when the acknowledgements or rejections of a proxy change, and
	// with connected false when the proxy's last stream has ended. Calls for one proxy come one after the other; those
	// for different proxies may overlap.
	Report func(p translator.Proxy, connected bool)
	// Grace is how long a cluster or secret stays on a proxy after its last use, 5 s if zero. It is also how long the
	// routes to a new cluster wait for a proxy that shows no sign of having read the cluster.
	Grace time.Duration
	// WarmLimit is how long a route waits until a new cluster's endpoints and secrets are acknowledged, and how long a
	// response waits for the answer to the previous one, 1 s if zero.
	WarmLimit time.Duration
	// Review is how often the token of a stream is authenticated again, 3 minutes if zero. The stream ends if the token
	// is rejected.
	Review time.Duration
	// Remembered is how many guilty parts are remembered for a fleet, 4096 if zero. Parts that are rejected beyond that
	// are reported by their resource.
	Remembered int
	// Memory is the number of bytes for all proxies together: requests, their names beyond those of their fleets, and
	// responses that they have not read. It is 256 MiB if zero. If it is exceeded, a connection of the subject that
	// uses the most ends.
	Memory int
	// Metrics registers the server's metrics, if set.
	Metrics prometheus.Registerer
	Log     logr.Logger
}

// Server delivers published resources to the proxies. All its methods may be called from any goroutine.
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
	// firstLimit is how long a stream may take until its first request is complete.
	firstLimit = 10 * time.Second
)

// New returns a server without fleets.
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

// Publish stores changes; its arguments must not be modified afterwards. It does not wait for proxies. The first delta
// of a fleet, and the first one after Gone, has all resources of the fleet.
func (s *Server) Publish(deltas []translator.Delta) {
	now := time.Now()
	for _, d := range deltas {
		s.fleet(d.Fleet).publish(d, now)
		if d.Gone {
			s.drop(d.Fleet)
		}
	}
}

// Synced allows sending to the proxies. Before it nothing is sent, because unknown resources would look like removed
// ones.
func (s *Server) Synced() {
	s.synced.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.fleets {
		f.wakeAll()
	}
}

// Close ends all streams, so that the proxies connect to another replica, and rejects new ones. The proxies keep their
// resources.
func (s *Server) Close() {
	s.end()
}

// DeltaAggregatedResources serves one proxy until it disconnects, its token expires or the server is closed.
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
		return status.Error(codes.InvalidArgument, "the first request has no node.id: set it to the name of the pod")
	}
	if len(node.GetId()) > nodeLimit {
		return status.Errorf(codes.InvalidArgument, "the node.id has %d characters: set it to the name of the pod",
			len(node.GetId()))
	}
	if !id.Mine(node.GetCluster()) {
		s.metrics.denied.Inc()
		s.log.Info("refused a proxy", "subject", id.Subject, "node", node.GetId(), "cluster", brief(node.GetCluster()))
		return status.Errorf(codes.PermissionDenied,
			"node.cluster %q is not a Gateway of %s: set it to namespace/name of the Gateway that the service account is for",
			node.GetCluster(), id.Subject)
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
		return nil, status.Errorf(codes.DeadlineExceeded,
			"no request is there %v after the call: send the first one, with node.id, at once", firstLimit)
	case <-s.closed.Done():
		return nil, errStopping
	}
}

// fleet returns the fleet with the key, and creates it if necessary.
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
	if !f.known && len(f.streams)+len(f.watchers) == 0 {
		delete(s.fleets, key)
	}
}

// enter adds a stream to its fleet, leave removes it.
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

// dropReporter forgets the reporter of a disconnected proxy, after this has been reported.
func (s *Server) dropReporter(proxy proxyKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.reporters[proxy]; r != nil && r.spent() {
		delete(s.reporters, proxy)
	}
}
