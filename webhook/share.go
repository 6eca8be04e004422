package webhook

import (
	"slices"
	"sync"
)

// shares divides a limited amount of something between peers. One peer alone may have all of it. When all is taken, a
// peer that has less than another peer gets the least valuable part of the other's, so that nobody keeps more than an
// equal share from others. A peer may act for several users, which share what it has in the same way.
type shares struct {
	limit int64

	mu    sync.Mutex
	taken int64
	peers map[string]*share
}

// share is what one peer has.
type share struct {
	sum int64
	// portions are ordered by their value for the peer: the last one is lost first, of the user who has most.
	portions []*portion
}

// portion is a part of the amount that a peer has until it is returned or taken away.
type portion struct {
	sender
	size int64
	// lost is called when the portion is taken away. It must neither block nor call the shares.
	lost func()
}

func newShares(limit int64) *shares { return &shares{limit: limit, peers: map[string]*share{}} }

// take returns a portion of that size for a sender; nil if there is no room. The caller must return it with giveBack.
func (s *shares) take(by sender, size int64, lost func()) *portion {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.makeRoom(by, size) {
		return nil
	}
	p := &portion{sender: by, lost: lost}
	mine := s.peers[by.peer]
	if mine == nil {
		mine = &share{}
		s.peers[by.peer] = mine
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
	if !s.has(p) || !s.makeRoom(p.sender, size) {
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
// the peer must not have more than the one that it takes from, nor the user than another user of the peer.
func (s *shares) makeRoom(by sender, size int64) bool {
	mine := s.peers[by.peer]
	want := size
	if mine != nil {
		want += mine.sum
	}
	chosen, left := []*portion(nil), map[*share]share{}
	for missing := s.taken + size - s.limit; missing > 0; {
		most := s.most(left)
		if most == nil || left[most].sum <= want {
			if most = mine; mine == nil || !left[mine].crowdsOut(by.user, size) {
				return false
			}
		}
		rest := left[most]
		i, _ := rest.worst()
		last := rest.portions[i]
		left[most] = share{sum: rest.sum - last.size, portions: slices.Concat(rest.portions[:i], rest.portions[i+1:])}
		chosen = append(chosen, last)
		missing -= last.size
	}
	for _, p := range chosen {
		s.remove(p)
		p.lost()
	}
	return true
}

// worst is the portion that is lost first, and what each user has.
func (s share) worst() (index int, sums map[string]int64) {
	sums = map[string]int64{}
	for _, p := range s.portions {
		sums[p.user] += p.size
	}
	index = len(s.portions) - 1
	for i := index; i >= 0; i-- {
		if sums[s.portions[i].user] > sums[s.portions[index].user] {
			index = i
		}
	}
	return index, sums
}

// crowdsOut reports whether another user of the peer has more than the user would have.
func (s share) crowdsOut(user string, size int64) bool {
	i, sums := s.worst()
	return i >= 0 && sums[s.portions[i].user] > sums[user]+size
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
