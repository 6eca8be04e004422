package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

// TestCrowd checks that few requests are judged at a time, that a limited number waits, that one more is rejected, and
// that all others get their verdicts.
func TestCrowd(t *testing.T) {
	var trials, most atomic.Int32
	proceed := make(chan struct{})
	s := serve(t, Options{TimeLimit: time.Minute, Trier: TrierFunc(func(context.Context,
		client.Object,
	) ([]translator.Finding, error) {
		for n := trials.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-proceed
		trials.Add(-1)
		return nil, nil
	})})
	in := review(nil)
	in.Request = httpRoute()
	var answered, turnedAway atomic.Int32
	var group sync.WaitGroup
	for range maxPresent + 10 {
		group.Go(func() {
			code, body := s.send(t, ValidatePath, in)
			switch {
			case code == http.StatusOK:
				answered.Add(1)
			case code == http.StatusTooManyRequests && strings.Contains(string(body),
				"this object cannot be judged by Gatehouse now: too many others are waiting already: "):
				if turnedAway.Add(1) == 10 {
					close(proceed)
				}
			default:
				t.Errorf("status %d: %s", code, body)
			}
		})
	}
	group.Wait()
	if answered.Load() != maxPresent || most.Load() != maxJudged {
		t.Errorf("%d were answered, want %d; %d were judged at a time, want %d", answered.Load(), maxPresent, most.Load(),
			maxJudged)
	}
	if code, body := s.send(t, ValidatePath, in); code != http.StatusOK {
		t.Errorf("afterwards: status %d: %s", code, body)
	}
}

// TestBodiesTakeRoomAsTheyCome: the announced length takes no room, the received bytes do, and the rest is free for
// others.
func TestBodiesTakeRoomAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		ended := make(chan error)
		sent, send := io.Pipe()
		v := c.enter(t.Context(), "a", func() { _ = sent.CloseWithError(errors.New("interrupted")) })
		go func() {
			_, err := v.read(sent)
			ended <- err
		}()
		synctest.Wait()
		if c.bytes.taken != firstRead || c.places.taken != 0 {
			t.Errorf("before anything has come: %d bytes and %d places", c.bytes.taken, c.places.taken)
		}
		_, _ = send.Write(make([]byte, 1<<20))
		synctest.Wait()
		if c.bytes.taken > 2<<20 || c.places.taken != 0 {
			t.Errorf("when 1 MiB has come: %d bytes and %d places", c.bytes.taken, c.places.taken)
		}
		_ = send.Close()
		if err := <-ended; err != nil || c.places.taken != 1 {
			t.Errorf("when all has come: %v, %d places", err, c.places.taken)
		}
		v.leave()
		if c.bytes.taken != 0 || c.places.taken != 0 {
			t.Errorf("afterwards: %d bytes and %d places", c.bytes.taken, c.places.taken)
		}
	})
}

// TestLargeBodiesMakeRoom: a single peer may fill all the room with bodies, and no more. A second peer gets some of it,
// and a body of the first one is rejected.
func TestLargeBodiesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		fill := func(peer string, size int) chan error {
			ended := make(chan error, 1)
			sent, send := io.Pipe()
			v := c.enter(t.Context(), peer, func() { _ = sent.CloseWithError(errors.New("interrupted")) })
			go func() {
				_, err := v.read(sent)
				v.leave()
				_ = sent.Close()
				ended <- err
			}()
			_, _ = send.Write(make([]byte, size))
			t.Cleanup(func() { _ = send.Close() })
			synctest.Wait()
			return ended
		}
		var many []chan error
		refused := 0
		for range 20 {
			ended := fill("flood", 6<<20)
			select {
			case err := <-ended:
				if refused++; !errors.Is(err, errCrowded) {
					t.Errorf("turned away by %v", err)
				}
			default:
				many = append(many, ended)
			}
		}
		if len(many) < maxPresentBytes/(maxRequest+1) || c.bytes.taken > maxPresentBytes {
			t.Errorf("there was room for %d, with %d bytes", len(many), c.bytes.taken)
		}
		other := fill("other", 6<<20)
		select {
		case err := <-other:
			t.Errorf("the other peer is turned away: %v", err)
		default:
		}
		for _, ended := range many {
			select {
			case err := <-ended:
				if refused++; !errors.Is(err, errCrowded) {
					t.Errorf("made room with %v", err)
				}
			default:
			}
		}
		if refused <= 20-len(many) || c.bytes.taken > maxPresentBytes {
			t.Errorf("nobody made room: %d bytes", c.bytes.taken)
		}
	})
}

// TestTurnsGoRound: a peer with many requests delays another peer only by a few, and a user another user of the peer.
func TestTurnsGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2)
		began := map[sender]int{}
		var mu sync.Mutex
		wait := func(ctx context.Context, from sender) {
			go func() {
				if _, err := turns.await(ctx, from); err == nil {
					mu.Lock()
					defer mu.Unlock()
					began[from]++
				}
			}()
			synctest.Wait()
		}
		flood, user, honest := sender{"api", "flood"}, sender{"api", "user"}, sender{"honest", anybody}
		for range 100 {
			wait(t.Context(), flood)
		}
		gone, end := context.WithCancel(t.Context())
		wait(gone, sender{"gone", anybody})
		for _, from := range []sender{honest, honest, user, user} {
			wait(t.Context(), from)
		}
		end()
		synctest.Wait()
		for range 8 {
			turns.done(0)
			synctest.Wait()
		}
		if began[honest] != 2 || began[user] != 2 || began[flood] != 6 || began[sender{"gone", anybody}] != 0 {
			t.Errorf("after eight turns: %v", began)
		}
		for range 96 {
			turns.done(0)
			synctest.Wait()
		}
		if began[flood] != 100 || turns.free != 2 || len(turns.waiting)+len(turns.crowds) > 0 {
			t.Errorf("in the end: %v, %d are free, %v wait", began, turns.free, turns.crowds)
		}
	})
}

// TestHopelessRequestsAreAnsweredAtOnce: a request whose turn would come too late does not wait. The requests of others do
// not count for more than their turns, so a user who floods loses only what is their own.
func TestHopelessRequestsAreAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		const hold = 100 * time.Millisecond
		judge := func(from sender) error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*hold)
			defer cancel()
			done, err := turns.await(ctx, from)
			if err == nil {
				time.Sleep(hold)
				done()
			}
			return err
		}
		for range 50 {
			if err := judge(sender{"api", "before"}); err != nil {
				t.Fatal(err)
			}
		}
		var answered, refused, late, honest atomic.Int32
		begun := time.Now()
		for i := range 110 {
			go func() {
				if i >= 100 {
					time.Sleep(time.Millisecond) // The flood is there first.
					if judge(sender{"api", fmt.Sprint("user", i%5)}) == nil {
						honest.Add(1)
					}
					return
				}
				switch err := judge(sender{"api", "flood"}); {
				case err == nil:
					answered.Add(1)
				case errors.Is(err, errCrowded) && time.Since(begun) == 0:
					refused.Add(1)
				default:
					late.Add(1)
				}
			}()
		}
		time.Sleep(time.Minute)
		if honest.Load() != 10 || answered.Load() < 5 || refused.Load() < 75 || answered.Load()+refused.Load()+late.Load() != 100 {
			t.Errorf("of the honest users' %d of 10 were judged; of the flood's %d, %d were refused at once and %d later",
				honest.Load(), answered.Load(), refused.Load(), late.Load())
		}
	})
}

// TestUserIn reads the user from what the API server sends, and from nothing that comes after the object.
func TestUserIn(t *testing.T) {
	sent := review(nil)
	sent.Request = httpRoute()
	sent.Request.UserInfo.Username = "system:serviceaccount:argocd:application-controller"
	text, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		string(text): "system:serviceaccount:argocd",
		`{"request":{"userInfo":{"groups":["a"],"username":"jane"}}}`: "jane",
		`{"request":{"object":{},"userInfo":{"username":"jane"}}}`:    anybody,
		`{"request":{"userInfo":{"username":7}}}`:                     anybody,
		`{"request":{"userInfo":{"username":""}}}`:                    anybody,
		`{"request":[`: anybody, `{"kind":{"request":{"userInfo":{"username":"x"}}}}`: anybody, "": anybody,
	} {
		if got := userIn([]byte(text)); got != want {
			t.Errorf("%.200s: %q, want %q", text, got, want)
		}
	}
}

// TestClientsThatLeave: what a client does not wait for is not judged to its end, and does not hold the turn.
func TestClientsThatLeave(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	registry := prometheus.NewRegistry()
	s := serve(t, Options{TimeLimit: time.Hour, Metrics: registry, Trier: TrierFunc(func(ctx context.Context, _ client.Object) ([]translator.Finding, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})})
	in := review(nil)
	in.Request = httpRoute()
	for range 2 * maxJudged { // Each of them gets a turn, so the ones before gave theirs back.
		ctx, leave := context.WithCancel(t.Context())
		go func() { _, _, _ = s.try(ctx, ValidatePath, in) }()
		<-begun
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the trial ended with %v", err)
		}
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		lines, _ := scrape(t, registry)
		if strings.Contains(lines, fmt.Sprintf("gatehouse_admission_unjudged_total{cause=\"gone\",webhook=\"validate\"} %d\n", 2*maxJudged)) {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("the metrics are\n%s", lines)
		}
	}
}

// TestLargeRequestsGoOneByOne: only one request with many tokens is decoded at a time, and small ones continue in
// parallel.
func TestLargeRequestsGoOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		var done []func()
		begin := func(tokens int) {
			go func() {
				if over, err := c.turn(t.Context(), sender{"a", anybody}, tokens); err == nil {
					done = append(done, over)
				}
			}()
			synctest.Wait()
		}
		for range maxJudged + 1 {
			begin(fewTokens + 1)
		}
		if len(done) != 1 {
			t.Errorf("%d large ones go on, want one", len(done))
		}
		for range maxJudged {
			begin(fewTokens)
		}
		if len(done) != maxJudged {
			t.Errorf("%d go on beside each other, want %d", len(done), maxJudged)
		}
		for i := 0; i < len(done); i++ {
			done[i]()
			synctest.Wait()
		}
		if len(done) != 2*maxJudged+1 || c.turns.free != maxJudged || c.large.free != 1 {
			t.Errorf("in the end %d had their turns, and %d and %d are free", len(done), c.turns.free, c.large.free)
		}
	})
}

// TestEndedTrial checks that a trial ends when its time is over, and so makes room for others.
func TestEndedTrial(t *testing.T) {
	var trials atomic.Int32
	s := serve(t, Options{TimeLimit: 500 * time.Millisecond, Trier: TrierFunc(func(ctx context.Context,
		_ client.Object,
	) ([]translator.Finding, error) {
		if trials.Add(1) > 2*maxJudged {
			return nil, nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})})
	in := review(nil)
	in.Request = httpRoute()
	for range 2 * maxJudged {
		if code, body := s.send(t, ValidatePath, in); code != http.StatusInternalServerError {
			t.Errorf("status %d: %s", code, body)
		}
	}
	if code, body := s.send(t, ValidatePath, in); code != http.StatusOK {
		t.Errorf("after trials that took too long: status %d: %s", code, body)
	}
}

// crowd fills the places of the webhook with complete requests of as many peers, until leave is called. The Trier must
// not answer meanwhile.
func (s *served) crowd(t *testing.T) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	in := review(nil)
	in.Request = httpRoute()
	var group sync.WaitGroup
	for i := range maxPresent {
		one := s.from(fmt.Sprintf("127.1.0.%d", i))
		group.Go(func() {
			for ctx.Err() == nil { // The last place may be taken for a moment by the check whether all are taken.
				if code, _, _ := one.try(ctx, ValidatePath, in); code != http.StatusTooManyRequests {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if code, _ := s.send(t, ValidatePath+"?timeout=250ms", in); code == http.StatusTooManyRequests {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the places are not filled: status %d", code)
		}
	}
	return func() {
		cancel()
		group.Wait()
	}
}
