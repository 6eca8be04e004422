package webhook

import (
	"slices"
	"sync"
)

// shares divide a bounded amount of something among peers. One peer alone may have all of it. When all is taken, a peer that has less than another one
// gets what that one would miss least, so that nobody keeps more than an equal share from others.
type shares struct {
	limit int64

	mu    sync.Mutex
	taken int64
	peers map[string]*share
}

// share is what one peer has.
type share struct {
	sum int64
	// portions are in the order in which the peer would miss them: the last one is the first to go.
	portions []*portion
}

// portion is some of it that a peer has, until it is given back or taken away.
type portion struct {
	peer string
	size int64
	// lost is called when it is taken away. It must neither block nor call the shares.
	lost func()
}

func newShares(limit int64) *shares { return &shares{limit: limit, peers: map[string]*share{}} }

// take is a portion of that size for a peer; nil if there is no room. The caller gives it back.
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

// grow adds to a portion. It reports false if there is no room, or if the portion has been taken away.
func (s *shares) grow(p *portion, size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has(p) || !s.makeRoom(p.peer, size) {
		return false
	}
	s.add(p, size)
	return true
}

// giveBack ends a portion; nil is none. What has been taken away needs it no more, and may be given back all the same.
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

// makeRoom takes from those who have most until there is room, and nothing if there is none in the end. A peer may not have more by it than the one
// that it takes from.
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

// most is the share that has most, where left are those that will have less.
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
