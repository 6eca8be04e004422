package xds

import (
	"errors"
	"io"
	"strconv"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// readLimit is how long a proxy may take to read enough for another response to be sent.
const readLimit = time.Minute

var errStopping = status.Error(codes.Unavailable, "this replica of the control plane is stopping: connect to another")

// stream is one proxy's connection. Two goroutines serve it: one receives, the other decides and sends, so that a proxy
// that does not read delays nobody else.
type stream struct {
	grpc      discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	node      string
	identity  proof
	since     time.Time
	session   *session
	reporter  *reporter
	awake     chan struct{}
	requests  chan *incoming
	receiving chan error
	// doubted requests a review of the token.
	doubted chan struct{}
	// told reports whether the log already has the types that are not served.
	told bool
}

func newStream(g discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, id proof) *stream {
	return &stream{
		grpc: g, identity: id, since: time.Now(),
		awake: make(chan struct{}, 1), doubted: make(chan struct{}, 1), requests: make(chan *incoming),
		receiving: make(chan error, 1),
	}
}

// wake makes the stream check for something to send. It never waits.
func (st *stream) wake() {
	select {
	case st.awake <- struct{}{}:
	default:
	}
}

// run serves a stream whose first request was read.
func (s *Server) run(st *stream, first *incoming) error {
	s.enter(st, first.request.GetNode().GetCluster())
	defer s.retire(st)
	log := s.log.WithValues("fleet", st.session.fleet.key, "node", st.node)
	log.Info("proxy connected")
	defer log.Info("proxy disconnected")

	ctx := st.grpc.Context()
	expired, stop := st.expiry()
	defer stop()
	go s.reviewEvery(ctx, st)
	if err := s.take(st, first); err != nil {
		return err
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wakeAt, err := s.send(st)
		if err != nil {
			return err
		}
		timer.Stop()
		if !wakeAt.IsZero() {
			timer.Reset(time.Until(wakeAt))
		}
		select {
		case in := <-st.requests:
			err = s.take(st, in)
		case err = <-st.receiving:
			if errors.Is(err, io.EOF) {
				return nil
			}
		case <-ctx.Done():
			err = status.FromContextError(ctx.Err()).Err()
		case err = <-st.identity.connection.over:
		case <-st.awake:
		case <-timer.C:
		case <-expired:
			// A normal end: Envoy logs no error and reconnects with its current token.
			return nil
		case <-s.closed.Done():
			return errStopping
		}
		if err != nil {
			return err
		}
	}
}

// retire ends a stream for the fleet and for the translation.
func (s *Server) retire(st *stream) {
	s.leave(st)
	st.reporter.leave(st)
	s.dropReporter(proxyKey{st.session.fleet.key, st.node})
}

// receive reads requests until the stream ends, and calls done then.
func (st *stream) receive(done func()) {
	defer done()
	ctx := st.grpc.Context()
	for {
		in := &incoming{connection: st.identity.connection}
		if err := st.grpc.RecvMsg(in); err != nil {
			st.receiving <- err
			return
		}
		in.connection.received(in)
		select {
		case st.requests <- in:
		case <-ctx.Done():
			return
		}
	}
}

// expiry returns a channel that signals when the token has expired.
func (st *stream) expiry() (expired <-chan time.Time, stop func() bool) {
	if st.identity.Expires.IsZero() {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(time.Until(st.identity.Expires))
	return t.C, t.Stop
}

// take handles one request.
func (s *Server) take(st *stream, in *incoming) error {
	f, req := st.session.fleet, &in.request
	if n := req.GetNode(); n != nil && n.GetCluster() != f.key {
		return status.Errorf(codes.PermissionDenied, "node.cluster changed from %q to %q on one stream", f.key,
			n.GetCluster())
	}
	if req.GetTypeUrl() == "" {
		return status.Error(codes.InvalidArgument, "the request has no type_url")
	}
	now := time.Now()
	f.mu.Lock()
	var answered *response
	greedy := st.session.floods(req)
	if !greedy {
		answered = st.session.request(req, now)
		st.tellNews()
		greedy = st.session.greedy()
	}
	named := st.session.excess()
	f.mu.Unlock()
	in.connection.handled(in, named)
	if greedy {
		return status.Errorf(codes.ResourceExhausted,
			"the names that the stream subscribes to or has take more than %d bytes", sizeLimit)
	}
	if _, _, known := traitOf(req.GetTypeUrl()); !known && !st.told {
		st.told = true
		s.log.Info("a proxy asks for a type that is not served", "fleet", f.key, "node", st.node, "type",
			brief(req.GetTypeUrl()))
	}
	if answered != nil {
		s.metrics.answer(answered, req.GetErrorDetail() != nil, now)
	}
	if e := req.GetErrorDetail(); e != nil {
		s.log.Info("proxy rejected resources", "fleet", f.key, "node", st.node, "type", req.GetTypeUrl(), "message",
			brief(words(e.GetMessage())))
	}
	return nil
}

// send sends everything that can be sent now. It returns when to check again; zero means not before something happens.
func (s *Server) send(st *stream) (wakeAt time.Time, err error) {
	if !s.synced.Load() {
		return time.Time{}, nil
	}
	f := st.session.fleet
	for {
		f.mu.Lock()
		r := st.session.next(time.Now())
		wakeAt = st.session.wakeAt
		st.tellNews()
		f.mu.Unlock()
		if r == nil {
			return wakeAt, nil
		}
		s.metrics.send(r)
		if err := s.deliver(st, r); err != nil {
			return time.Time{}, err
		}
	}
}

// deliver sends a response, see connection.deliver.
func (s *Server) deliver(st *stream, r *response) error {
	return st.identity.connection.deliver(r.size(), func() {
		s.log.Info("a proxy does not read its responses", "fleet", st.session.fleet.key, "node", st.node)
	}, func() error { return st.grpc.Send(r.message()) })
}

// tellNews reports changes. The fleet's mutex must be held.
func (st *stream) tellNews() {
	if st.session.news {
		st.session.news = false
		st.reporter.tell(st, st.session.snapshot(st.node))
	}
}

// size is the approximate size of the response, in bytes.
func (r *response) size() (size int) {
	for _, res := range r.resources {
		size += res.Size()
	}
	return size
}

// message returns the response in the form that is sent.
func (r *response) message() *discovery.DeltaDiscoveryResponse {
	m := &discovery.DeltaDiscoveryResponse{
		TypeUrl: r.subscription.url, Nonce: strconv.FormatUint(r.seq, 10), RemovedResources: r.removed,
		Resources: make([]*discovery.Resource, len(r.resources)),
	}
	for i, res := range r.resources {
		m.Resources[i] = &discovery.Resource{
			Name: res.Name, Version: res.Version, Resource: &anypb.Any{TypeUrl: res.Type, Value: res.Body()},
		}
	}
	return m
}
