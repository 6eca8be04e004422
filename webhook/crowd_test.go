package webhook

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

// TestCrowd holds that few requests are judged at a time, that a bounded number waits, that one too many is told so, and that all others get
// their verdicts.
func TestCrowd(t *testing.T) {
	var trials, most atomic.Int32
	proceed := make(chan struct{})
	s := serve(t, Options{TimeLimit: time.Minute, Trier: TrierFunc(func(context.Context, client.Object) ([]translator.Finding, error) {
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
			case code == http.StatusTooManyRequests && strings.Contains(string(body), "this object cannot be judged by Gatehouse now: 256 others of together "):
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
		t.Errorf("%d were answered, want %d; %d were judged at a time, want %d", answered.Load(), maxPresent, most.Load(), maxJudged)
	}
	if code, body := s.send(t, ValidatePath, in); code != http.StatusOK {
		t.Errorf("afterwards: status %d: %s", code, body)
	}
}

// TestCrowdOfLargeBodies holds that large bodies leave room for fewer, and that one that does not tell its size counts as the largest.
func TestCrowdOfLargeBodies(t *testing.T) {
	c := newCrowd()
	var leave []func()
	for {
		out, err := c.enter(-1)
		if err != nil {
			break
		}
		leave = append(leave, out)
	}
	if len(leave) != maxPresentBytes/maxRequest {
		t.Errorf("there is room for %d of the largest, want %d", len(leave), maxPresentBytes/maxRequest)
	}
	if _, err := c.enter(1 << 10); err != nil {
		t.Errorf("no room for a small one: %v", err)
	}
	for _, out := range leave {
		out()
	}
	if _, err := c.enter(maxRequest); err != nil {
		t.Errorf("no room after all have left: %v", err)
	}
}

// TestEndedTrial holds that a trial ends when its time is over, and so makes room for others.
func TestEndedTrial(t *testing.T) {
	var trials atomic.Int32
	s := serve(t, Options{TimeLimit: 100 * time.Millisecond, Trier: TrierFunc(func(ctx context.Context, _ client.Object) ([]translator.Finding, error) {
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

// crowd fills the webhook with requests that never send the bodies that they tell of, until leave is called or their time is over.
func (s *served) crowd(t *testing.T) (leave func()) {
	t.Helper()
	var conns []net.Conn
	for size := int64(maxPresentBytes); size > 0; size -= maxRequest {
		conn, err := s.dial(t.Context(), "tcp", "")
		if err != nil {
			t.Fatal(err)
		}
		silent := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		if _, err := fmt.Fprintf(silent, "POST %s HTTP/1.1\r\nHost: webhook\r\nContent-Length: %d\r\n\r\n", ValidatePath, min(size, maxRequest)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	in := review(nil)
	in.Request = httpRoute()
	for code := 0; code != http.StatusTooManyRequests; code, _ = s.send(t, ValidatePath, in) {
		time.Sleep(time.Millisecond)
	}
	return func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}
