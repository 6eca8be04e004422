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
	// reviewAgain is when a review is repeated in which nobody could tell.
	reviewAgain = 10 * time.Second
)

// Review has the tokens of a fleet's streams authenticated again, since what they prove has changed. It does not wait for it.
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
		default: // It is asked for already.
		}
	}
}

// reviewEvery reviews a stream's token from time to time until the stream ends. Those of many streams do not come all at once.
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

// review ends a stream of which the token is refused, or proves another identity than it did. The stream goes on while nobody can tell; told says
// whether somebody could.
func (s *Server) review(ctx context.Context, st *stream) (told bool) {
	ctx, cancel := context.WithTimeout(ctx, reviewLimit)
	defer cancel()
	id, err := s.config.Confirm(ctx, st.identity.token)
	switch {
	case status.Code(err) == codes.Unavailable || ctx.Err() != nil:
		return false
	case err != nil:
		s.log.Info("a proxy's token is not accepted any more", "fleet", st.session.fleet.key, "node", st.node, "error", err.Error())
		st.identity.connection.end(status.Error(codes.Unauthenticated, "the token is not accepted any more; send a valid token of the proxy's service account"))
	case !id.Mine(st.session.fleet.key):
		st.identity.connection.end(status.Errorf(codes.PermissionDenied, "%s is no service account of Gateway %s any more", id.Subject, st.session.fleet.key))
	}
	return true
}
