package main

import (
	"fmt"
	"net/http"
	"time"
)

const (
	// watchers is how many routes are asked at a time while many are created.
	watchers = 8
	// afterwards is how often a route is asked again once it has answered 200.
	afterwards = 20
)

// watch is the answers of a host that comes up.
type watch struct {
	host  string
	first time.Time // Of the first 200; zero if there was none.
	odd   map[int]int
	done  chan struct{}
}

// watch asks a host, which has answered once when it returns, until it has answered 200 for a while, at most 20 s.
func (b *bench) watch(host string, every time.Duration, done func()) *watch {
	w := &watch{host: host, odd: map[int]int{}, done: make(chan struct{})}
	end, more := time.Now().Add(20*time.Second), afterwards
	ask := func() {
		status, _ := get(b.http, b.address, host)
		switch {
		case status == http.StatusOK && w.first.IsZero():
			w.first = time.Now()
		case !w.first.IsZero():
			more--
		}
		if status != http.StatusOK && (status != http.StatusNotFound || !w.first.IsZero()) {
			w.odd[status]++
		}
	}
	ask()
	go func() {
		defer close(w.done)
		defer done()
		for more > 0 && time.Now().Before(end) {
			time.Sleep(every)
			ask()
		}
	}()
	return w
}

// wait adds what a client should not see: anything but 404 before the first 200, and but 200 after it.
func (w *watch) wait(odd map[int]int) error {
	<-w.done
	for code, n := range w.odd {
		odd[code] += n
	}
	if w.first.IsZero() {
		return fmt.Errorf("%s did not answer 200 within 20 s; other statuses than 404: %v", w.host, w.odd)
	}
	return nil
}

// sayOdd tells what was seen of routes while all were created.
func sayOdd(prefix string, watched []*watch) error {
	odd := map[int]int{}
	for _, w := range watched {
		if err := w.wait(odd); err != nil {
			return err
		}
	}
	say(prefix+"answers of routes while all are created, other than 404 and then 200", "%v of %d routes", odd,
		len(watched))
	return nil
}
