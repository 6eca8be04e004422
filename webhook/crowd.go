package webhook

import (
	"context"
	"errors"
	"io"
	"net"
)

// The bounds of what is there at a time. They hold for both webhooks together.
const (
	// maxJudged is how many requests are decoded and tried at a time. The tables take one trial at a time anyway.
	maxJudged = 4
	// maxPresent is how many requests are there as a whole: those that are judged, and those that wait for it.
	maxPresent = 256
	// maxPresentBytes is how much of bodies is held, of requests that are there as a whole or in part.
	maxPresentBytes = 64 << 20
	// firstRead is how much of a body is held at first; it doubles with what has come.
	firstRead = 16 << 10
)

// crowd are the requests that are there. Room for their bodies is bounded and shared out by peers, so that a peer that floods is turned away rather
// than others. What is decoded is bounded by the turns: few requests at a time, and of those with many tokens one. So a flood takes at most 64 MiB
// of bodies, 4 more bodies of requests that are tried although their time is over, and 4 decoded requests.
type crowd struct {
	places, bytes *shares
	turns, large  *turns
}

func newCrowd() *crowd {
	return &crowd{places: newShares(maxPresent), bytes: newShares(maxPresentBytes), turns: newTurns(maxJudged), large: newTurns(1)}
}

// errCrowded is of a request that is turned away for others.
var errCrowded = errors.New("too many others are waiting already")

// visit is a request while it is there.
type visit struct {
	crowd *crowd
	peer  string
	// ctx ends, with the cause errCrowded, when the request has to make room for others.
	ctx context.Context
	end context.CancelCauseFunc
	// body is the room for what has come of the body, and place that for the whole request; nil where there is none.
	body, place *portion
	lost        func()
}

// enter begins a visit. interrupt is called when the request has to make room for others while its body is read. The caller says by leave when the
// visit is over.
func (c *crowd) enter(ctx context.Context, peer string, interrupt func()) *visit {
	v := &visit{crowd: c, peer: peer}
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

// read reads a body to its end. It takes room for what has come rather than for what is announced, and a place when all is there. The error
// is errCrowded if there is none.
func (v *visit) read(body io.Reader) ([]byte, error) {
	if v.body = v.crowd.bytes.take(v.peer, firstRead, v.lost); v.body == nil {
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
		if v.place = v.crowd.places.take(v.peer, 1, v.lost); v.place == nil {
			return nil, errCrowded
		}
		return text, nil
	}
}

// turn waits until a request with so many tokens may be decoded and judged. The caller says by done when that is over.
func (c *crowd) turn(ctx context.Context, peer string, tokens int) (done func(), err error) {
	if tokens <= fewTokens {
		return c.turns.await(ctx, peer)
	}
	only, err := c.large.await(ctx, peer)
	if err != nil {
		return nil, err
	}
	one, err := c.turns.await(ctx, peer)
	if err != nil {
		only()
		return nil, err
	}
	return func() {
		one()
		only()
	}, nil
}

// peerOf is the address without the port: all connections from there are one peer's.
func peerOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
