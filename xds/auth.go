package xds

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Identity is the result of authenticating a bearer token.
type Identity struct {
	// Subject names the holder, such as system:serviceaccount:ns:name.
	Subject string
	// Pod is the pod that the token is bound to, with its namespace and UID; empty if it is not bound to a pod.
	Pod string
	// Fleets are the Gateways (namespace/name) whose resources the holder may get.
	Fleets []string
	// Expires is when the token expires; zero means never.
	Expires time.Time
}

// Mine reports whether the holder may get the resources of a fleet.
func (i Identity) Mine(fleet string) bool {
	return slices.Contains(i.Fleets, fleet)
}

// holder identifies who may have a limited number of streams: a pod, or the subject if its token is not bound to a pod.
func (i Identity) holder() string {
	return i.Subject + " " + i.Pod
}

// proof is the part of a stream's context that authenticates it: the token, its identity, and the connection.
type proof struct {
	token string
	Identity
	connection *connection
}

type proofKey struct{}

// identify checks the bearer token of a call, or the certificate of the rate limit service. It returns a context with the
// proof, or a gRPC status: Unauthenticated if there is no valid token, Unavailable if it could not be checked.
func (s *Server) identify(ctx context.Context) (context.Context, error) {
	if id, ok := limiter(ctx); ok {
		return s.prove(ctx, "", id)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		s.metrics.denied.Inc()
		return nil, status.Errorf(codes.Unauthenticated,
			"the call has %d authorization headers: send one, Bearer and the service account's token", len(values))
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		s.metrics.denied.Inc()
		return nil, status.Error(codes.Unauthenticated,
			"the authorization header is not a bearer token: send Bearer and the service account's token")
	}
	asking, cancel := context.WithTimeout(ctx, reviewLimit)
	defer cancel()
	id, err := s.config.Authenticate(asking, token)
	if err == nil && !id.Expires.IsZero() && !time.Now().Before(id.Expires) {
		err = errors.New("the token has expired")
	}
	if status.Code(err) == codes.Unavailable || errors.Is(err, context.DeadlineExceeded) {
		s.log.Info("a proxy's token cannot be checked; it will try again", "error", err.Error())
		return nil, status.Error(codes.Unavailable, "the token cannot be checked at the moment: try again")
	}
	if err != nil {
		s.metrics.denied.Inc()
		s.log.Info("refused a proxy's token", "error", brief(err.Error()))
		return nil, status.Error(codes.Unauthenticated,
			"the token was not accepted: send a valid token of the proxy's service account")
	}
	return s.prove(ctx, token, id)
}

// prove returns a context with the proof that the caller is who it says, if it may have another connection.
func (s *Server) prove(ctx context.Context, token string, id Identity) (context.Context, error) {
	c := connectionOf(ctx)
	if c == nil {
		return nil, status.Error(codes.Internal, "the call came by no connection of this server")
	}
	if err := s.peers.prove(c, id); err != nil {
		s.metrics.denied.Inc()
		s.log.Info("refused a proxy's connection", "subject", id.Subject, "error", err.Error())
		return nil, err
	}
	return context.WithValue(ctx, proofKey{}, proof{token, id, c}), nil
}

// unary authenticates calls that are not streams.
func (s *Server) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// streaming authenticates streams, and calls of methods that are not served (they reach unserved as streams).
func (s *Server) streaming(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if c := connectionOf(stream.Context()); c != nil {
		defer c.serve()()
	}
	ctx, err := s.identify(stream.Context())
	if err != nil {
		return err
	}
	return next(srv, &identifiedStream{ServerStream: stream, ctx: ctx})
}

type identifiedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *identifiedStream) Context() context.Context { return s.ctx }

// unserved answers every method that is not delta ADS.
func unserved(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented,
		"only AggregatedDiscoveryService/DeltaAggregatedResources is served: set api_type: DELTA_GRPC in ads_config")
}
