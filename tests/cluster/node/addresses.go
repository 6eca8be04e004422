package node

import (
	"errors"
	"net/netip"
	"sync"
)

// addresses hands out pod addresses. An address that was given back is used again as late as possible, so that
// whoever still holds it does not reach another pod.
type addresses struct {
	mu    sync.Mutex
	pool  netip.Prefix
	last  netip.Addr
	taken map[netip.Addr]bool
}

func newAddresses(pool netip.Prefix, reserved netip.Addr) *addresses {
	pool = pool.Masked()
	return &addresses{pool: pool, last: pool.Addr(), taken: map[netip.Addr]bool{pool.Addr(): true, reserved: true}}
}

func (a *addresses) take() (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for next := a.last.Next(); next != a.last; next = next.Next() {
		if !a.pool.Contains(next) {
			next = a.pool.Addr()
		}
		if !a.taken[next] && a.pool.Contains(next.Next()) {
			a.taken[next] = true
			a.last = next
			return next, nil
		}
	}
	return netip.Addr{}, errors.New("all pod addresses are in use")
}

func (a *addresses) release(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.taken, addr)
}
