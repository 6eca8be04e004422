package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// beyond is what the peers with more than that amount could lose before they have no more.
func (s *shares) beyond(sum int64) (lost int64) {
	for _, each := range s.peers {
		rest := each.sum
		for i := len(each.portions) - 1; rest > sum; i-- {
			rest -= each.portions[i].size
		}
		lost += each.sum - rest
	}
	return lost
}

// TestSharesAreFair: no more is given out than there is. A single peer may have all of it. A request for a part is
// rejected only if the peers that have more than it would have cannot make room for it. Nobody loses anything for a
// rejected request.
func TestSharesAreFair(t *testing.T) {
	random, losses := rand.New(rand.NewPCG(1, 2)), 0
	for round := range 200 {
		limit, peers := 1+random.Int64N(50), 1+random.IntN(10)
		s := newShares(limit)
		held := map[*portion]bool{}
		for range 300 {
			peer := fmt.Sprint(random.IntN(peers))
			switch size := 1 + random.Int64N(5); random.IntN(4) {
			case 0:
				for p := range held {
					s.giveBack(p)
					delete(held, p)
					break
				}
			case 1:
				for p := range held {
					s.keep(p)
					if before := losses; !s.grow(p, size) && losses > before {
						t.Fatalf("round %d: %d were lost for nothing", round, losses-before)
					}
					break
				}
			default:
				want := size
				if mine := s.peers[peer]; mine != nil {
					want += mine.sum
				}
				var p *portion
				before := losses
				p = s.take(sender{peer: peer}, size, func() { losses++; delete(held, p) })
				if p != nil {
					held[p] = true
					break
				}
				if losses > before {
					t.Fatalf("round %d: %d were lost for nothing", round, losses-before)
				}
				if free := limit - s.taken + s.beyond(want); free >= size {
					t.Fatalf("round %d: %s gets no %d, although %d were free or with those who have more", round, peer, size, free)
				}
			}
			var sum int64
			for p := range held {
				sum += p.size
			}
			if sum != s.taken || sum > limit {
				t.Fatalf("round %d: %d of %d are taken, and parts have %d", round, s.taken, limit, sum)
			}
		}
		for p := range held {
			s.giveBack(p)
			s.giveBack(p)
		}
		if s.taken != 0 || len(s.peers) != 0 || s.take(sender{peer: "alone"}, limit, func() {}) == nil {
			t.Errorf("round %d: %d are taken of nobody", round, s.taken)
		}
	}
	if losses == 0 {
		t.Error("nobody ever made room")
	}
}

// TestKeptPartsGoLast: a peer that has to make room first loses the portions that it has not kept.
func TestKeptPartsGoLast(t *testing.T) {
	s := newShares(4)
	var lost []int
	var portions []*portion
	for i := range 4 {
		portions = append(portions, s.take(sender{peer: "many"}, 1, func() { lost = append(lost, i) }))
	}
	s.keep(portions[2])
	s.keep(portions[3])
	for range 3 {
		s.take(sender{peer: "few"}, 1, func() { t.Error("the one that has less makes room") })
	}
	if fmt.Sprint(lost) != "[1 0]" {
		t.Errorf("lost are %v, want the second and then the first", lost)
	}
}

// TestUsersShareWhatTheirPeerHas: a user with many portions makes room for other users of the same peer, and for other
// peers, with the newest one. Of two users with as many, the one who came last does.
func TestUsersShareWhatTheirPeerHas(t *testing.T) {
	s := newShares(10)
	var lost []string
	take := func(peer, user string) bool {
		name := fmt.Sprint(user, len(s.peers["api"].list(user)))
		return s.take(sender{peer, user}, 1, func() { lost = append(lost, name) }) != nil
	}
	for range 8 {
		take("api", "flood")
	}
	for range 6 {
		if !take("api", "honest") {
			break
		}
	}
	take("other", "?")
	if got := fmt.Sprint(lost, len(s.peers["api"].list("honest"))); got != "[flood7 flood6 flood5 honest4] 4" {
		t.Errorf("lost, and the number of the honest user's: %s", got)
	}
	if s.taken != 10 || take("api", "flood") {
		t.Errorf("%d are taken, and the flood got more", s.taken)
	}
}

// list are the portions of a user.
func (s *share) list(user string) (list []*portion) {
	if s == nil {
		return nil
	}
	for _, p := range s.portions {
		if p.user == user {
			list = append(list, p)
		}
	}
	return list
}

// peers open connections from some addresses and leave them to use, until the test ends.
func (s *served) peers(t *testing.T, addresses, each int, use func(net.Conn)) (open []net.Conn) {
	t.Helper()
	var mu sync.Mutex
	var group sync.WaitGroup
	for a := range addresses {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(a+1))}}
		group.Go(func() {
			for range each {
				conn, err := dialer.DialContext(t.Context(), "tcp", s.address)
				if err != nil {
					t.Error(err)
					return
				}
				if use != nil {
					use(conn)
				}
				mu.Lock()
				open = append(open, conn)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	t.Cleanup(func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	})
	return open
}

// begun uses a connection for the headers of a review, and half or nothing of the announced body, which has one of the
// sizes.
func begun(half bool, sizes ...int) func(net.Conn) {
	var count atomic.Int32
	return func(conn net.Conn) {
		size := sizes[int(count.Add(1))%len(sizes)]
		silent := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		_, _ = fmt.Fprintf(silent, "POST %s HTTP/1.1\r\nHost: webhook\r\nContent-Length: %d\r\n\r\n", ValidatePath, size)
		if half {
			_, _ = silent.Write(bytes.Repeat([]byte(" "), size/2)) // The server may have closed it already.
		}
	}
}

// TestSlowPeersHoldNobodyUp: connections that send nothing, or only a part of the announced bytes, never keep a review
// of the API server from its verdict.
func TestSlowPeersHoldNobodyUp(t *testing.T) {
	for name, c := range map[string]struct {
		addresses, each int
		use             func(net.Conn)
	}{
		"no handshake": {4, 50, nil},
		"no request": {4, 25, func(conn net.Conn) {
			_ = tls.Client(conn,
				&tls.Config{InsecureSkipVerify: true}).Handshake()
		}},
		"no body, of one address":      {1, 40, begun(false, maxRequest, 1<<20)},
		"no body, of many addresses":   {20, 2, begun(false, maxRequest, 1<<20)},
		"small bodies":                 {10, 30, begun(false, 100)},
		"half a body, of one address":  {1, 40, begun(true, maxRequest, 1<<20)},
		"half a body, of five of them": {5, 8, begun(true, maxRequest, 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Options{Trier: says()})
			honest := s.from("127.0.0.2")
			defer honest.client.CloseIdleConnections()
			in := review(nil)
			in.Request = httpRoute()
			s.peers(t, c.addresses, c.each, c.use)
			for until := time.Now().Add(500 * time.Millisecond); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
				if code, body := honest.send(t, ValidatePath, in); code != http.StatusOK {
					t.Fatalf("status %d: %s", code, body)
				}
			}
		})
	}
}

// TestConnectionsAreSharedOut: the number of connections is limited for all peers together. A connection that the API
// server uses stays, and a new one gets its room from the peers that have more.
func TestConnectionsAreSharedOut(t *testing.T) {
	s := serve(t, Options{Trier: says()})
	honest := s.from("127.0.0.2")
	defer honest.client.CloseIdleConnections()
	in := review(nil)
	in.Request = httpRoute()
	judged := func(by *served) {
		t.Helper()
		if code, body := by.send(t, ValidatePath, in); code != http.StatusOK {
			t.Errorf("status %d: %s", code, body)
		}
	}
	judged(honest)
	var dials atomic.Int32
	dial := honest.client.Transport.(*http.Transport)
	dialer := dial.DialContext
	dial.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return dialer(ctx, network, address)
	}
	const addresses, more = 4, 100
	open := s.peers(t, addresses, (maxConnections+more)/addresses, nil)
	for range 10 {
		judged(honest)
		fresh := s.from("127.0.0.3")
		judged(fresh)
		fresh.client.CloseIdleConnections()
	}
	if dials.Load() > 0 {
		t.Errorf("the connection that the API server uses was closed, so that it made %d others", dials.Load())
	}
	closed := 0
	for _, conn := range open {
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if closed < more { // More are closed after headerTime without data.
		t.Errorf("%d of %d connections were closed; %d may stay", closed, len(open), maxConnections)
	}
}
