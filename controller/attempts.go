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

// Limits for reviews of unknown tokens. The API server must review a token if a pod connects or has a new token. Each
// pod has its own address.
const (
	// The API server reviews at most attemptsPerPeer tokens of one address at once, and attemptsPerMinute in a minute.
	attemptsPerPeer   = 4
	attemptsPerMinute = 60
	// refusedFor is how long a rejection is remembered, refusalsLimit how many rejections are.
	refusedFor    = 10 * time.Second
	refusalsLimit = 4096
	// confirmations is how many tokens of running streams the API server reviews at once.
	confirmations = 32
)

// attempts limits, by address, how often the API server reviews tokens, so that a client with forged tokens delays
// nobody else.
type attempts struct {
	mu    sync.Mutex
	peers map[string]*attempted
}

// attempted counts the attempts of an address in the minute that began at since.
type attempted struct {
	open, count int
	since       time.Time
}

// begin counts an attempt of the peer of ctx. If there are too many, the error has the gRPC code Unavailable; otherwise
// done must be called.
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
		return nil, status.Errorf(codes.Unavailable, "too many tokens from %s are not known: try again in a minute", address)
	}
	p.open++
	p.count++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		p.open--
	}, nil
}

// peerAddress is the address of a call's peer, without the port. All unknown peers count as one.
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
