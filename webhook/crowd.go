package webhook

import (
	"context"
	"errors"
	"io"
	"net"
)

// The limits for concurrent requests. Both webhooks share them.
const (
	// maxJudged is how many requests are decoded and tried at a time. The tables allow only one trial at a time anyway.
	maxJudged = 4
	// maxPresent is the number of complete requests: those that are judged, and those that wait for it.
	maxPresent = 256
	// maxPresentBytes is the number of bytes of bodies, of complete and incomplete requests.
	maxPresentBytes = 64 << 20
	// firstRead is the size of the first buffer for a body; it doubles with the received bytes.
	firstRead = 16 << 10
)

// crowd has the present requests. Room for their bodies is limited and shared between peers, so that a peer that floods
// is rejected instead of others. Places and turns are shared between the users of a peer too. The turns limit what is
// decoded: few requests at a time, and only one with many tokens. So a flood takes at most 64 MiB of bodies, 4 more
// bodies of requests that are still tried after their time is over, and 4 decoded requests.
type crowd struct {
	places, bytes *shares
	turns, large  *turns
	// aside has an entry for each request that waits for something without a turn.
	aside chan struct{}
}

func newCrowd() *crowd {
	return &crowd{
		places: newShares(maxPresent), bytes: newShares(maxPresentBytes), turns: newTurns(maxJudged),
		large: newTurns(1), aside: make(chan struct{}, maxAside),
	}
}

// errCrowded is the error of a request that was rejected to make room for others.
var errCrowded = errors.New("too many others are waiting already")

// visit is a request while it is present.
type visit struct {
	crowd *crowd
	// from has no user until the body is read.
	from sender
	// ctx ends, with the cause errCrowded, when the request has to make room for others.
	ctx context.Context
	end context.CancelCauseFunc
	// body is the room for the received part of the body, and place the room for the complete request; nil if there is
	// none.
	body, place *portion
	lost        func()
}

// enter begins a visit. interrupt is called if the request has to make room for others while its body is read. The
// caller calls leave when the visit is over.
func (c *crowd) enter(ctx context.Context, peer string, interrupt func()) *visit {
	v := &visit{crowd: c, from: sender{peer: peer}}
	v.ctx, v.end = context.WithCancelCause(ctx)
	v.lost = func() {
		v.end(errCrowded)
		interrupt()
	}
	return v
}

func (v *visit) leave() {
	v.crowd.bytes.giveBack(v.body)
	v.crowd.places.giveBack(v.place)
	v.end(nil)
}

// read reads a body to its end. It takes room for the received bytes rather than for the announced length, and a place
// when the body is complete. If there is none, the error is errCrowded.
func (v *visit) read(body io.Reader) ([]byte, error) {
	if v.body = v.crowd.bytes.take(v.from, firstRead, v.lost); v.body == nil {
		return nil, errCrowded
	}
	text := make([]byte, 0, firstRead)
	for {
		if len(text) == cap(text) {
			larger := min(2*cap(text), maxRequest+1)
			if !v.crowd.bytes.grow(v.body, int64(larger-cap(text))) {
				return nil, errCrowded
			}
			text = append(make([]byte, 0, larger), text...)
		}
		n, err := body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if err == nil {
			continue
		}
		if v.ctx.Err() != nil {
			return nil, context.Cause(v.ctx)
		}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
		v.from.user = userIn(text)
		if v.place = v.crowd.places.take(v.from, 1, v.lost); v.place == nil {
			return nil, errCrowded
		}
		return text, nil
	}
}

// turn waits until a request with so many tokens may be decoded and judged. The caller calls done when that is over.
func (c *crowd) turn(ctx context.Context, from sender, tokens int) (done func(), err error) {
	if tokens <= fewTokens {
		return c.turns.await(ctx, from)
	}
	only, err := c.large.await(ctx, from)
	if err != nil {
		return nil, err
	}
	one, err := c.turns.await(ctx, from)
	if err != nil {
		only()
		return nil, err
	}
	return func() {
		one()
		only()
	}, nil
}

// peerOf is the address without the port: all connections from one address belong to one peer.
func peerOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
