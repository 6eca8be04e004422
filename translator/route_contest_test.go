package translator

import (
	"math/rand/v2"
	"slices"
	"testing"

	"gatehouse/translator/hostname"
)

// TestOccupied: the first route with a common host is found as if all were looked at.
func TestOccupied(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	patterns := []string{
		hostname.Any, "*.com", "*.example.com", "example.com", "a.example.com", "*.a.example.com",
		"b.a.example.com", "c.org", "*.org",
	}
	hosts := func() (chosen []string) {
		for range 1 + random.IntN(2) {
			chosen = append(chosen, patterns[random.IntN(len(patterns))])
		}
		return chosen
	}
	overlap := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(x string) bool {
			return slices.ContainsFunc(b, func(y string) bool { return hostname.Covers(x, y) || hostname.Covers(y, x) })
		})
	}
	met := 0
	for range 2000 {
		o := &occupied{at: map[string]int{}, below: map[string]int{}}
		var of [][]string
		for range random.IntN(4) {
			of = append(of, hosts())
			o.add(&parentRow{Index: len(of)}, of[len(of)-1])
		}
		asked := hosts()
		want := slices.IndexFunc(of, func(had []string) bool { return overlap(had, asked) })
		got := o.first(asked)
		if (got == nil) != (want < 0) || got != nil && got.Index != want+1 {
			t.Fatalf("routes with %v, asked for %v: got %v, want the one at %d", of, asked, got, want)
		}
		if got != nil {
			met++
		}
	}
	if met == 0 {
		t.Error("no hosts met")
	}
}
