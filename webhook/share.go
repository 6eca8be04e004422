package webhook

import (
	"slices"
	"sync"
)

// shares divides a limited amount of something between peers. One peer alone may have all of it. When all is taken, a
// peer that has less than another peer gets the least valuable part of the other's, so that nobody keeps more than an
// equal share from others.
type shares struct {
	limit int64

	mu    sync.Mutex
	taken int64
	peers map[string]*share
}

// share is what one peer has.
type share struct {
	sum int64
	// portions are ordered by their value for the peer: the last one is lost first.
	portions []*portion
}

// portion is a part of the amount that a peer has until it is returned or taken away.
type portion struct {
	peer string
	size int64
	// lost is called when the portion is taken away. It must neither block nor call the shares.
	lost func()
}

func newShares(limit int64) *shares { return &shares{limit: limit, peers: map[string]*share{}} }

// take returns a portion of that size for a peer; nil if there is no room. The caller must return it with giveBack.
func (s *shares) take(peer string, size int64, lost func()) *portion {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.makeRoom(peer, size) {
		return nil
	}
	p := &portion{peer: peer, lost: lost}
	mine := s.peers[peer]
	if mine == nil {
		mine = &share{}
		s.peers[peer] = mine
	}
	mine.portions = append(mine.portions, p)
	s.add(p, size)
	return p
}

// grow adds to a portion. It reports whether this worked: not if there is no room, or if the portion has been taken
// away.
func (s *shares) grow(p *portion, size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has(p) || !s.makeRoom(p.peer, size) {
		return false
	}
	s.add(p, size)
	return true
}

// giveBack returns a portion; nil does nothing. A portion that has been taken away need not be returned, but may be.
func (s *shares) giveBack(p *portion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p != nil && s.has(p) {
		s.remove(p)
	}
}

// keep makes a portion the last one that its peer would lose.
func (s *shares) keep(p *portion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has(p) {
		return
	}
	portions := s.peers[p.peer].portions
	i := slices.Index(portions, p)
	copy(portions[1:i+1], portions[:i])
	portions[0] = p
}

// makeRoom takes from the peers with the most until there is room, and takes nothing if this is impossible. Afterwards
// the peer must not have more than the one that it takes from.
func (s *shares) makeRoom(peer string, size int64) bool {
	want := size
	if mine := s.peers[peer]; mine != nil {
		want += mine.sum
	}
	chosen, left := []*portion(nil), map[*share]share{}
	for missing := s.taken + size - s.limit; missing > 0; {
		most := s.most(left)
		if most == nil || left[most].sum <= want {
			return false
		}
		rest := left[most]
		last := rest.portions[len(rest.portions)-1]
		left[most] = share{sum: rest.sum - last.size, portions: rest.portions[:len(rest.portions)-1]}
		chosen = append(chosen, last)
		missing -= last.size
	}
	for _, p := range chosen {
		s.remove(p)
		p.lost()
	}
	return true
}

// most is the largest share; left has the shares that will be smaller, with their new sizes.
func (s *shares) most(left map[*share]share) (most *share) {
	for _, each := range s.peers {
		if _, known := left[each]; !known {
			left[each] = *each
		}
		if most == nil || left[each].sum > left[most].sum {
			most = each
		}
	}
	return most
}

func (s *shares) has(p *portion) bool {
	mine := s.peers[p.peer]
	return mine != nil && slices.Contains(mine.portions, p)
}

func (s *shares) add(p *portion, size int64) {
	p.size += size
	s.peers[p.peer].sum += size
	s.taken += size
}

func (s *shares) remove(p *portion) {
	mine := s.peers[p.peer]
	mine.portions = slices.DeleteFunc(mine.portions, func(other *portion) bool { return other == p })
	mine.sum -= p.size
	s.taken -= p.size
	if len(mine.portions) == 0 {
		delete(s.peers, p.peer)
	}
}
