package heavy

import (
	"math/rand/v2"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Random is a scene of random size and content, within all limits.
func Random(r *rand.Rand) Scene {
	for {
		if s := Make(random(r)); s.Stored() {
			return s
		}
	}
}

func random(r *rand.Rand) Content {
	c := Content{Rules: 1 + r.IntN(Rules), Hosts: 1 + r.IntN(Hosts)}
	c.Matches = 1 + r.IntN(min(RuleMatches, Matches/c.Rules))
	n, length := r.IntN(entries+1), 1<<r.IntN(12)
	expression := Texts[r.IntN(len(Texts))]
	if r.IntN(2) == 0 {
		c.Match = func(i int, m *gwapiv1.HTTPRouteMatch) {
			Expressions(m, n, first(expression, longHeader), first(expression, longText))
			method := gwapiv1.HTTPMethodGet
			if i%2 == 0 {
				m.Method = &method
			}
		}
	}
	if r.IntN(2) == 0 {
		backends := 1 + r.IntN(entries)
		perBackend := r.IntN(2) == 0
		c.Rule = func(_ int, rule *gwapiv1.HTTPRouteRule) {
			rule.Filters = append(rule.Filters, Headers(n, length))
			rule.BackendRefs = Backends(backends)
			for i := range rule.BackendRefs {
				if perBackend {
					rule.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{Headers(n, length)}
				}
			}
		}
	}
	switch r.IntN(4) {
	case 0:
		c.Policy = Ranges(1+r.IntN(8), 1+r.IntN(4000))
	case 1:
		c.Policy = Origins(1 + r.IntN(64))
	}
	return c
}

func first(s string, n int) string { return s[:min(len(s), n)] }
