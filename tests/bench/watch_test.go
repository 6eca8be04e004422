package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestWatch shows that only 404, then 200, is as it should be.
func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []int
		odd     map[int]int
	}{
		{"as it should be", []int{404, 404, 200}, map[int]int{}},
		{"the cluster came late", []int{404, 503, 503, 200}, map[int]int{503: 2}},
		{"the route went again", []int{404, 200, 404, 500, 200}, map[int]int{404: 1, 500: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.answers[min(int(asked.Add(1)), len(c.answers))-1])
			}))
			defer server.Close()
			b := &bench{http: server.Client(), address: strings.TrimPrefix(server.URL, "http://")}
			odd := map[int]int{}
			if err := b.watch("shop.example.com", time.Millisecond, func() {}).wait(odd); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(odd, c.odd) {
				t.Errorf("watch counts %v, want %v", odd, c.odd)
			}
		})
	}
}
