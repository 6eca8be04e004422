package compare

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"gatehouse/policies/feature"
)

// TestShadow: a match is shadowed only if a match before it takes each of its requests.
func TestShadow(t *testing.T) {
	prefix := func(path string, headers ...*routev3.HeaderMatcher) *routev3.RouteMatch {
		if path == "/" {
			return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: headers}
		}
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: path}, Headers: headers}
	}
	exact := func(path string, headers ...*routev3.HeaderMatcher) *routev3.RouteMatch {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}, Headers: headers}
	}
	one, two := feature.HeaderIs("x-a", feature.Exactly("1")), feature.HasHeader("x-b")
	for _, tc := range []struct {
		before, match *routev3.RouteMatch
		want          bool
	}{
		{prefix("/"), prefix("/a"), true},
		{prefix("/"), exact("/a/b"), true},
		{prefix("/a"), exact("/a"), true},
		{prefix("/a"), exact("/a/b/c"), true},
		{prefix("/a"), prefix("/a/b"), true},
		{prefix("/a"), prefix("/a"), true},
		{prefix("/a"), prefix("/ab"), false},
		{prefix("/a/b"), prefix("/a"), false},
		{exact("/a"), prefix("/a"), false},
		{exact("/a"), exact("/a"), true},
		{prefix("/a", one), prefix("/a/b", one), true},
		{prefix("/a", one), prefix("/a/b", one, two), true},
		{prefix("/a", one, two), prefix("/a/b", one), false},
		{prefix("/a", two), prefix("/a/b", one), false},
	} {
		first, second := &entry{route: &routev3.Route{Match: tc.before}}, &entry{route: &routev3.Route{Match: tc.match}}
		shadow([]*entry{first, second})
		if got := second.shadow == first; got != tc.want {
			t.Errorf("%s behind %s: got %t, want %t", matchText(tc.match), matchText(tc.before), got, tc.want)
		}
		if first.shadow != nil {
			t.Errorf("%s is first and shadowed", matchText(tc.before))
		}
	}
}

// TestIncreasing compares with all parts of short lists.
func TestIncreasing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		numbers := r.Perm(1 + r.IntN(8))
		longest := 0
		for part := range 1 << len(numbers) {
			last, length := -1, 0
			for i, n := range numbers {
				if part>>i&1 == 0 {
					continue
				}
				if n < last {
					length = 0
					break
				}
				last, length = n, length+1
			}
			longest = max(longest, length)
		}
		var kept []int
		for i, stays := range increasing(numbers) {
			if stays {
				kept = append(kept, numbers[i])
			}
		}
		if len(kept) != longest || !slices.IsSorted(kept) {
			t.Fatalf("of %v got %v, and the longest has %d", numbers, kept, longest)
		}
	}
}

// TestUnified applies the hunks of random differences: they make the new text of the old one.
func TestUnified(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 500 {
		var old, now []string
		for i := range r.IntN(40) {
			line := fmt.Sprint("line ", i%7)
			switch r.IntN(8) {
			case 0:
				old = append(old, line)
			case 1:
				now = append(now, line)
			default:
				old, now = append(old, line), append(now, line)
			}
		}
		text := func(lines []string) string { return strings.Join(append(lines, ""), "\n") }
		got := apply(t, old, unified("x", text(slices.Clone(old)), text(slices.Clone(now))))
		if !slices.Equal(got, now) {
			t.Fatalf("of %q got %q, want %q", old, got, now)
		}
	}
}

// apply applies a unified diff.
func apply(t *testing.T, old []string, diff string) (out []string) {
	t.Helper()
	taken := 0
	for _, line := range strings.Split(strings.TrimSuffix(diff, "\n"), "\n")[2:] {
		var from, count, to, added int
		if _, err := fmt.Sscanf(line, "@@ -%d,%d +%d,%d @@", &from, &count, &to, &added); err == nil {
			start := from - min(count, 1)
			out = append(out, old[taken:start]...)
			if taken = start; len(out) != to-min(added, 1) {
				t.Fatalf("%s: the hunk begins behind %d lines", line, len(out))
			}
			continue
		}
		if line[0] != '+' {
			if old[taken] != line[1:] {
				t.Fatalf("%q is not line %d of %q", line, taken, old)
			}
			taken++
		}
		if line[0] != '-' {
			out = append(out, line[1:])
		}
	}
	return append(out, old[taken:]...)
}
