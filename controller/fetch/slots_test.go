package fetch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// line are the slots of a test, and what waits for them.
type line struct {
	*slots
	mu  sync.Mutex
	got []string
	// releases give back the slots that were given.
	releases []func()
}

// wait waits for a slot in the background. namespaces are such as "a/b".
func (l *line) wait(ctx context.Context, key, namespaces string) {
	go func() {
		release, ok := l.acquire(ctx, key, strings.Split(namespaces, "/"))
		l.mu.Lock()
		defer l.mu.Unlock()
		if ok {
			l.got, l.releases = append(l.got, namespaces), append(l.releases, release)
		}
	}()
	synctest.Wait()
}

// release gives one slot back, and returns false if none was given.
func (l *line) release() bool {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.releases) == 0 {
		return false
	}
	l.releases[0]()
	l.releases = l.releases[1:]
	return true
}

// drain gives all slots back, and expects nothing to be left.
func (l *line) drain(t *testing.T, free int) {
	t.Helper()
	for l.release() {
		continue
	}
	if l.free != free || len(l.taken)+len(l.waiting)+len(l.turns) > 0 {
		t.Errorf("in the end %d are free, taken are %v, %d namespaces wait, and turns are %v", l.free, l.taken,
			len(l.waiting), l.turns)
	}
}

// TestSlotsGoAround: the namespaces that wait get a single slot in turn, however much one of them waits for.
func TestSlotsGoAround(t *testing.T) {
	for waiting, want := range map[string]string{
		"a a a b c c":     "a b c a c a",
		"a a a/b c a":     "a a/b c a a",
		"a b c a b c":     "a b c a b c",
		"b b b b/c b b a": "b a b/c b b b b",
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &line{slots: newSlots(1)}
			for i, namespaces := range strings.Fields(waiting) {
				l.wait(t.Context(), fmt.Sprint(i), namespaces)
			}
			l.drain(t, 1)
			if got := strings.Join(l.got, " "); got != want {
				t.Errorf("%s: slots were given to %s, want %s", waiting, got, want)
			}
		})
	}
}

// TestSharesOfSlots: a namespace takes a slot only while more are free than it has, so others find one.
func TestSharesOfSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{slots: newSlots(16)}
		want := map[string]int{}
		for _, next := range []struct {
			namespace string
			share     int
		}{{"a", 8}, {"b", 4}, {"c", 2}, {"d", 1}, {"e", 1}} {
			for i := range 20 {
				l.wait(t.Context(), fmt.Sprint(next.namespace, i), next.namespace)
			}
			want[next.namespace] = next.share
			if !maps.Equal(l.taken, want) {
				t.Errorf("taken are %v, want %v", l.taken, want)
			}
		}
		l.drain(t, 16)
		if len(l.got) != 100 {
			t.Errorf("%d slots were given", len(l.got))
		}
	})
}

// TestSlotsAreNotLost: what no longer waits gets no slot, and keeps none from others.
func TestSlotsAreNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{slots: newSlots(1)}
		l.wait(t.Context(), "1", "a")
		ctx, cancel := context.WithCancel(t.Context())
		l.wait(ctx, "2", "b/c")
		l.wait(t.Context(), "3", "c")
		cancel()
		synctest.Wait()
		l.drain(t, 1)
		if got := strings.Join(l.got, " "); got != "a c" {
			t.Errorf("slots were given to %s", got)
		}
	})
}

// TestJoin: what another namespace needs too gets a slot when it is the turn of that one.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{slots: newSlots(2)}
		for _, key := range []string{"1", "2", "3"} {
			l.wait(t.Context(), key, "a")
		}
		if len(l.got) != 1 {
			t.Errorf("namespace a has %d slots", len(l.got))
		}
		l.join("3", []string{"a", "b"})
		l.join("unknown", []string{"b"})
		synctest.Wait()
		if !maps.Equal(l.taken, map[string]int{"a": 1, "b": 1}) {
			t.Errorf("taken are %v", l.taken)
		}
		l.drain(t, 2)
		if len(l.got) != 3 {
			t.Errorf("%d slots were given", len(l.got))
		}
	})
}

// TestSlowServersOfOthersDelayNothing: while a thousand policies of a namespace wait for servers that do not answer,
// the first fetch of another namespace is complete before any of them is, be it small or large.
func TestSlowServersOfOthersDelayNothing(t *testing.T) {
	for large, share := range map[bool]int32{false: maxRunning / 2, true: maxRunningLarge / 2} {
		t.Run(fmt.Sprintf("large %t", large), func(t *testing.T) {
			var asked atomic.Int32
			slow := site(t, func(_ http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				<-r.Context().Done()
			})
			leader := newReplica(t, namespace(t))
			for i := range 1000 {
				want := (&source{address: strings.TrimPrefix(slow.URL, "http://")}).fetch(time.Hour)
				want.URL, want.Large, want.Namespaces = fmt.Sprint(want.URL, i), large, []string{"slow"}
				leader.Set(want.Key(), want)
			}
			stop := leader.lead(t)
			within(t, func() error {
				if asked.Load() < 2 {
					return errors.New("the slow servers were not asked")
				}
				return nil
			})
			want := newSource(t, "list").fetch(time.Hour)
			want.Large, want.Namespaces = large, []string{"other"}
			leader.Set(want.Key(), want)
			if large {
				leader.awaitFile(t, want.Key(), "list")
			} else {
				leader.await(t, want.Key(), "list", "")
			}
			leader.mu.Lock()
			if len(leader.has) != 1 {
				t.Errorf("there is the result of %d fetches", len(leader.has))
			}
			leader.mu.Unlock()
			stop()
			if asked.Load() > share {
				t.Errorf("%d slow servers were asked, want at most %d", asked.Load(), share)
			}
		})
	}
}

// TestNamespacesFetchAlike: of two namespaces with slow servers, one that has many more policies gets no more fetches.
func TestNamespacesFetchAlike(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	few := 0 // The fetches of the namespace with many when the one with few is done.
	slow := site(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		who := strings.Split(r.URL.Path, "/")[1]
		if asked[who]++; who == "few" && asked[who] == 20 {
			few = asked["many"]
		}
		says("list")(w, r)
	})
	leader := newReplica(t, namespace(t))
	var keys []string
	for who, count := range map[string]int{"many": 200, "few": 20} {
		for i := range count {
			want := (&source{address: strings.TrimPrefix(slow.URL, "http://")}).fetch(time.Hour)
			want.URL, want.Namespaces = fmt.Sprint(want.URL, who, "/", i), []string{who}
			leader.Set(want.Key(), want)
			keys = append(keys, want.Key())
		}
	}
	leader.lead(t)
	for _, key := range keys {
		leader.await(t, key, "list", "")
	}
	mu.Lock()
	defer mu.Unlock()
	if few == 0 || few > 100 {
		t.Errorf("when 20 fetches of one namespace were done, the other one had done %d of 200", few)
	}
	if want := map[string]int{"many": 200, "few": 20}; !maps.Equal(asked, want) {
		t.Errorf("asked were %v, want %v", asked, want)
	}
}
