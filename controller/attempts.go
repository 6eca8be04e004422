package controller

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// What tokens that are not known may cost. A token that the API server has to be asked about comes from a pod that connects or has a new token; a
// pod has an address of its own.
const (
	// attemptsPerPeer is how many tokens of one address the API server is asked about at once, attemptsPerMinute in a minute.
	attemptsPerPeer   = 4
	attemptsPerMinute = 60
	// refusedFor is how long a refusal is remembered, refusalsLimit how many are.
	refusedFor    = 10 * time.Second
	refusalsLimit = 4096
	// confirmations is how many tokens of running streams the API server is asked about at once.
	confirmations = 32
)

// attempts limits by address how often the API server is asked about tokens, so that who makes up tokens delays nobody else.
type attempts struct {
	mu    sync.Mutex
	peers map[string]*attempted
}

// attempted is what an address has done in the minute that began at since.
type attempted struct {
	open, count int
	since       time.Time
}

// begin counts an attempt of the peer of ctx. The error has the gRPC code Unavailable if there are too many; otherwise done must be called.
func (a *attempts) begin(ctx context.Context) (done func(), err error) {
	address, now := peerAddress(ctx), time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for other, p := range a.peers {
		if p.open == 0 && now.Sub(p.since) >= time.Minute {
			delete(a.peers, other)
		}
	}
	p := a.peers[address]
	if p == nil {
		p = &attempted{since: now}
		a.peers[address] = p
	}
	if now.Sub(p.since) >= time.Minute {
		p.count, p.since = 0, now
	}
	if p.open >= attemptsPerPeer || p.count >= attemptsPerMinute {
		return nil, status.Errorf(codes.Unavailable, "too many tokens from %s are not known; try again in a minute", address)
	}
	p.open++
	p.count++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		p.open--
	}, nil
}

// peerAddress is the address of a call's peer, without the port. Peers that are not known count as one.
func peerAddress(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return p.Addr.String()
	}
	return host
}
