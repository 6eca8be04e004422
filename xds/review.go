package xds

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// reviewLimit is how long a review of a token may take.
	reviewLimit = 10 * time.Second
	// reviewAgain is when a review without an answer is repeated.
	reviewAgain = 10 * time.Second
)

// Review starts a new authentication of the tokens of a fleet's streams, because their rights have changed. It does not
// wait for the result.
func (s *Server) Review(fleet string) {
	s.mu.Lock()
	f := s.fleets[fleet]
	s.mu.Unlock()
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for st := range f.streams {
		select {
		case st.doubted <- struct{}{}:
		default: // It is already requested.
		}
	}
}

// reviewEvery reviews a stream's token regularly until the stream ends. The reviews of many streams are spread over
// time.
func (s *Server) reviewEvery(ctx context.Context, st *stream) {
	timer := time.NewTimer(s.config.Review/2 + rand.N(s.config.Review/2))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-st.doubted:
		case <-timer.C:
		}
		next := s.config.Review
		if !s.review(ctx, st) {
			next = min(next, reviewAgain)
		}
		timer.Reset(next)
	}
}

// review ends a stream if its token is rejected, or proves another identity than before. If there is no answer, the
// stream continues; told reports whether there was an answer.
func (s *Server) review(ctx context.Context, st *stream) (told bool) {
	ctx, cancel := context.WithTimeout(ctx, reviewLimit)
	defer cancel()
	id, err := s.config.Confirm(ctx, st.identity.token)
	switch {
	case status.Code(err) == codes.Unavailable || ctx.Err() != nil:
		return false
	case err != nil:
		s.log.Info("a proxy's token is not accepted any more", "fleet", st.session.fleet.key, "node", st.node, "error",
			err.Error())
		st.identity.connection.end(status.Error(codes.Unauthenticated,
			"the token is not accepted any more: send a valid token of the proxy's service account"))
	case !id.Mine(st.session.fleet.key):
		st.identity.connection.end(status.Errorf(codes.PermissionDenied, "%s is not a service account of Gateway %s any more",
			id.Subject, st.session.fleet.key))
	}
	return true
}
