package policies

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// codes are the status codes of several equal requests.
func (send client) codes(t *testing.T, n int, host, path string, headers ...string) (codes []int) {
	t.Helper()
	for range n {
		codes = append(codes, send(t, http.MethodGet, host, path, headers...).StatusCode)
	}
	return codes
}

func (send client) testRateLimit(t *testing.T) {
	t.Run("window", func(t *testing.T) {
		const host = "ratelimit-default"
		first := send(t, http.MethodGet, host, "/")
		if limit := first.Header.Get("X-Ratelimit-Limit"); first.StatusCode != 200 || limit != "3" {
			t.Errorf("the first request gets %d with limit %q", first.StatusCode, limit)
		}
		limited := false
		for range 100 { // More than there can be in the time that they take.
			limited = limited || send(t, http.MethodGet, host, "/").StatusCode == http.StatusTooManyRequests
		}
		if !limited {
			t.Error("no request is over the limit")
		}
		time.Sleep(time.Second)
		if got := send(t, http.MethodGet, host, "/").StatusCode; got != 200 {
			t.Errorf("a second later: got %d", got)
		}
	})
	t.Run("selectors", func(t *testing.T) {
		// Each request costs 2 of the 5 that a user of a shop may send each minute.
		const host, path = "ratelimit-all", "/search?size=large&q=tea&shop="
		long := strings.Repeat("a", 256)
		of := func(user, client string) []string {
			return []string{"X-Plan", "free", "X-User", user, "X-Forwarded-For", client}
		}
		for _, tc := range []struct {
			path    string
			headers []string
			want    string
		}{
			{path + "one", of("ann", "10.1.2.3"), "[200 200 429]"},
			{path + "one", of("ann", "10.1.2.3"), "[429 429 429]"},
			{path + "two", of("ann", "10.1.2.3"), "[200 200 429]"},
			{path + "one", of("bob", "10.1.2.3"), "[200 200 429]"},
			{path + "one", of("ann", "10.1.2.4"), "[200 200 429]"},
			{path + "one", of("ann", "192.0.2.1"), "[200 200 200]"},
			{"/search/x?size=large&q=tea&shop=one", of("ann", "10.1.2.3"), "[200 200 200]"},
			{"/search?size=small&q=tea&shop=one", of("ann", "10.1.2.3"), "[200 200 200]"},
			{"/search?size=large&q=TEA&shop=one", of("ann", "10.1.2.3"), "[200 200 200]"},
			{path + "one", append(of("ann", "10.1.2.3"), "X-Agent", "bot 1"), "[200 200 200]"},
			{path + "one", []string{"X-Plan", "free", "X-Forwarded-For", "10.1.2.3"}, "[200 200 200]"},
			// Values that begin with the same 256 bytes share a limit.
			{path + "one", of(long+"a", "10.1.2.3"), "[200 200 429]"},
			{path + "one", of(long+strings.Repeat("b", 5000), "10.1.2.3"), "[429 429 429]"},
			{path + "one", of(long[1:]+"c", "10.1.2.3"), "[200 200 429]"},
			{path + "one", of(long[1:]+"d", "10.1.2.3"), "[200 200 429]"},
			{path + long + "a", of("ann", "10.1.2.3"), "[200 200 429]"},
			{path + long + "b", of("ann", "10.1.2.3"), "[429 429 429]"},
			// One without a value has a limit too.
			{path + "one", of("", "10.1.2.3"), "[200 200 429]"},
			{path, of("ann", "10.1.2.3"), "[200 200 429]"},
		} {
			if got := fmt.Sprint(send.codes(t, 3, host, tc.path, tc.headers...)); got != tc.want {
				t.Errorf("%s with %q: got %s, want %s", tc.path, tc.headers, got, tc.want)
			}
		}
	})
	t.Run("none", func(t *testing.T) {
		for path, want := range map[string]int{"/closed": 429, "/closed/a?b": 429, "/closed?a": 429, "/closedx": 200} {
			if got := send(t, http.MethodGet, "ratelimit-none", path).StatusCode; got != want {
				t.Errorf("%s: got %d, want %d", path, got, want)
			}
		}
	})
	t.Run("everybody", func(t *testing.T) {
		if got := fmt.Sprint(send.codes(t, 4, "ratelimit-shared", "/")); got != "[200 200 200 429]" {
			t.Errorf("three requests a year: got %s", got)
		}
	})
}
