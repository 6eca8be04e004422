package webhook

import "context"

const (
	// maxAside is how many requests may wait for something without a turn, and asideTokens the largest of them: what
	// they have decoded stays in memory. Others wait in their turn.
	maxAside    = 32
	asideTokens = 2 << 10
)

// held is the turn of a request that is being answered.
type held struct {
	visit  *visit
	tokens int
	done   func()
}

type heldKey struct{}

// withTurn tells the answerer which turn it has.
func withTurn(ctx context.Context, h *held) context.Context {
	return context.WithValue(ctx, heldKey{}, h)
}

// stepAside calls wait, and lets another request have the turn meanwhile, if the request is small and not too many
// others do the same. It returns an error of wait, or of waiting for another turn.
func stepAside(ctx context.Context, wait func() error) error {
	h, _ := ctx.Value(heldKey{}).(*held)
	if h == nil || h.tokens > asideTokens {
		return wait()
	}
	select {
	case h.visit.crowd.aside <- struct{}{}:
	default:
		return wait()
	}
	h.done()
	h.done = func() {}
	err := wait()
	<-h.visit.crowd.aside
	if err != nil {
		return err
	}
	done, err := h.visit.crowd.turn(ctx, h.visit.from, h.tokens)
	if err != nil {
		return err
	}
	h.done = done
	return nil
}
