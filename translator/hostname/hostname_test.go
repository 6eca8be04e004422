package hostname

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestIntersect(t *testing.T) {
	for _, tc := range []struct {
		listener string
		route    []gwapiv1.Hostname
		want     []string
	}{
		{Any, nil, []string{Any}},
		{"*.example.com", nil, []string{"*.example.com"}},
		{Any, []gwapiv1.Hostname{"A.example.com", "*.example.org"}, []string{"a.example.com", "*.example.org"}},
		{"a.example.com", []gwapiv1.Hostname{"*.example.com", "*.com", "a.example.com"}, []string{"a.example.com"}},
		{
			"*.example.com",
			[]gwapiv1.Hostname{"a.b.example.com", "*.com", "example.com"},
			[]string{"a.b.example.com", "*.example.com"},
		},
		{"*.example.com", []gwapiv1.Hostname{"example.com", "example.org", "badexample.com"}, nil},
	} {
		if got := Intersect(tc.listener, tc.route); !slices.Equal(got, tc.want) {
			t.Errorf("%s and %v: %v, want %v", tc.listener, tc.route, got, tc.want)
		}
	}
}

func TestMatching(t *testing.T) {
	hostnames := []gwapiv1.Hostname{"*.com", "*.Example.com", "A.example.com"}
	for host, want := range map[string]string{
		"a.example.com": "a.example.com", "b.example.com": "*.example.com", "*.b.example.com": "*.example.com",
		"example.com": "*.com",
		"example.org": Any, Any: Any,
	} {
		if got := Matching(host, hostnames); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

// TestCoveringIsInOrder: the hostnames that cover a host come in the order of their precedence.
func TestCoveringIsInOrder(t *testing.T) {
	patterns := Covering("a.b.example.com")
	if want := []string{"a.b.example.com", "*.b.example.com", "*.example.com", "*.com"}; !slices.Equal(patterns, want) {
		t.Errorf("%v, want %v", patterns, want)
	}
	if !slices.IsSortedFunc(patterns, Compare) || Compare("*.example.com", "a.com") <= 0 ||
		Compare("*.com", "*.com") != 0 {
		t.Errorf("%v are not in order", patterns)
	}
}

// FuzzIntersect: a host matches the listener and the route exactly if it matches one of the hosts that the route serves
// there.
func FuzzIntersect(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 4))
		labels := func() string {
			all := make([]string, 1+r.IntN(3))
			for i := range all {
				all[i] = []string{"a", "b", "aa"}[r.IntN(3)]
			}
			return strings.Join(all, ".")
		}
		pattern := func() string {
			if r.IntN(2) == 0 {
				return "*." + labels()
			}
			return labels()
		}
		listener, route := []string{Any, pattern()}[r.IntN(2)], make([]gwapiv1.Hostname, r.IntN(4))
		for i := range route {
			route[i] = gwapiv1.Hostname(pattern())
		}
		served := Intersect(listener, route)
		for range 20 {
			host := labels()
			want := matches(listener, host) && (len(route) == 0 || slices.ContainsFunc(route,
				func(h gwapiv1.Hostname) bool { return matches(string(h), host) }))
			if got := slices.ContainsFunc(served, func(s string) bool { return matches(s, host) }); got != want {
				t.Errorf("%s and %v serve %v, which has %s: %t, want %t", listener, route, served, host, got, want)
			}
		}
	})
}

// matches reports whether a host has the labels of a pattern, with one or more of its own in the place of "*".
func matches(pattern, host string) bool {
	want, got := strings.Split(pattern, "."), strings.Split(host, ".")
	if want[0] != "*" {
		return slices.Equal(want, got)
	}
	want = want[1:]
	return len(got) > len(want) && slices.Equal(want, got[len(got)-len(want):])
}
