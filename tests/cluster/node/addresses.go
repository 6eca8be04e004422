package node

import (
	"fmt"
	"net/netip"
	"sync"

	"gatehouse/tests/cluster/node/family"
)

// addresses hands out pod addresses, one of each family at a time.
type addresses struct {
	mu    sync.Mutex
	pools []*pool
}

// pool has the addresses of one family. One that was given back is used again as late as possible, so that whoever
// still holds it does not reach another pod.
type pool struct {
	within netip.Prefix
	last   netip.Addr
	taken  map[netip.Addr]bool
}

func newAddresses(families ...family.Family) *addresses {
	a := &addresses{}
	for _, f := range families {
		within := f.Pods.Masked()
		a.pools = append(a.pools, &pool{
			within: within, last: within.Addr(),
			taken: map[netip.Addr]bool{within.Addr(): true, f.Gateway: true},
		})
	}
	return a
}

func (a *addresses) take() ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var addrs []netip.Addr
	for _, p := range a.pools {
		addr, err := p.take()
		if err != nil {
			a.giveBack(addrs)
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

func (a *addresses) release(addrs []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.giveBack(addrs)
}

func (a *addresses) giveBack(addrs []netip.Addr) {
	for i, addr := range addrs {
		delete(a.pools[i].taken, addr)
	}
}

func (p *pool) take() (netip.Addr, error) {
	for next := p.last.Next(); next != p.last; next = next.Next() {
		if !p.within.Contains(next) {
			next = p.within.Addr()
		}
		if !p.taken[next] && p.within.Contains(next.Next()) {
			p.taken[next] = true
			p.last = next
			return next, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("all pod addresses of %s are in use", p.within)
}
