package translator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// declareProxies: what proxies report.
func (t *Tables) declareProxies() {
	t.proxiesByFleet = flow.NewIndex(t.in.proxies, "proxies by fleet", func(_ string, p Proxy) []string {
		return []string{p.Fleet}
	})
	t.quarantines = flow.Group(t.proxiesByFleet, "quarantines", maps.Equal[quarantineRow, quarantineRow], t.quarantine)
}

// quarantineRow is what proxies of a fleet have refused: the hashes of parts, with Envoy's words. What was made of an object and is in here
// fails closed, and the object says so, until it changes.
type quarantineRow map[string]string

func (t *Tables) quarantine(_ *flow.Read, _ string, proxies []flow.Row[Proxy]) (quarantineRow, bool) {
	all := quarantineRow{}
	for _, p := range proxies {
		for hash, words := range p.Value.Guilty {
			if known, ok := all[hash]; !ok || words < known {
				all[hash] = words
			}
		}
	}
	return all, len(all) > 0
}

// refusedRule is a rule of a route that does not forward, since Envoy refused a part of it or it is not sent to Envoy.
type refusedRule struct {
	Route string
	Rule  int
	// Message says why, and the way out.
	Message string
	Weight  verdict.Weight
	// ByEnvoy tells that Envoy has refused it, rather than that it was never sent.
	ByEnvoy bool
}

// rulesRefused is how many rules of a route Envoy refuses before all of it fails closed: nothing more of it is tried then (xds, trial.go).
const rulesRefused = 3

// refusedRules counts the rules of which Envoy refused something.
func (b *bindingRow) refusedRules() int {
	rules := map[int]bool{}
	for _, refused := range b.Refused {
		if refused.ByEnvoy {
			rules[refused.Rule] = true
		}
	}
	return len(rules)
}

func refusedRoutes(_ string, b *bindingRow) []string {
	var keys []string
	for _, refused := range b.Refused {
		if !slices.Contains(keys, refused.Route) {
			keys = append(keys, refused.Route)
		}
	}
	return keys
}

// refuse notes that a part of the rule was refused.
func (b *bindingRow) refuse(bound *boundRule, words string) {
	message := fmt.Sprintf("Envoy refused it, so it %s: %s: change the rule", bound.rules.Route.Kind.fails(), words)
	var names []string
	for _, e := range bound.effects {
		if e != nil {
			names = append(names, e.Ref.String())
		}
	}
	if len(names) > 0 {
		message += " or what takes effect on it: " + strings.Join(names, ", ")
	}
	b.withdraw(bound, message)
	b.Refused[len(b.Refused)-1].ByEnvoy = true
}

// withdraw notes why a rule does not forward.
func (b *bindingRow) withdraw(bound *boundRule, message string) {
	bound.refused = true
	b.Refused = append(b.Refused, refusedRule{Route: bound.rules.Route.Key, Rule: bound.rule, Message: message, Weight: verdict.Invalid})
}

// withoutRefused takes away the clusters of the rule that Envoy refused: their share is answered with 500.
func (q quarantineRow) withoutRefused(b *bindingRow, bound *boundRule) {
	if len(q) == 0 {
		return
	}
	for i, use := range bound.clusters {
		if words, refused := q.anyVersion(use); refused {
			bound.clusters[i] = nil
			b.refuse(bound, words)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(bound.extra)) {
		if words, refused := q.anyVersion(bound.extra[field]); refused {
			bound.extra[field] = nil
			b.refuse(bound, words)
		}
	}
}

// anyVersion answers with Envoy's words if it refused the cluster or what it needs; nil is never refused.
func (q quarantineRow) anyVersion(use *clusterUse) (words string, refused bool) {
	if use == nil {
		return "", false
	}
	for _, version := range use.versions() {
		if words, refused := q[version]; refused {
			return words, true
		}
	}
	return "", false
}

// refusedProblems are what a route has to say of its refused rules, each once.
func (t *Tables) refusedProblems(r *flow.Read, key string) []verdict.Problem {
	var problems []verdict.Problem
	for _, b := range t.refusedByRoute.Lookup(r, key) {
		for _, refused := range b.Value.Refused {
			if refused.Route != key {
				continue
			}
			p := verdict.Problem{
				Field: fmt.Sprintf("spec.rules[%d]", refused.Rule), Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: refused.Weight,
				Message: refused.Message,
			}
			if !slices.ContainsFunc(problems, func(known verdict.Problem) bool { return equalProblem(&known, &p) }) {
				problems = append(problems, p)
			}
		}
	}
	return problems
}

// withhold takes a listener for HTTP out of Envoy's configuration if Envoy refused its filter chain. The plain HTTP listeners of a port share one.
func (t *Tables) withhold(r *flow.Read, _ string, l *listenerRow) (*listenerRow, bool) {
	q, _ := t.quarantines.Get(r, l.fleet())
	if len(q) == 0 || !l.Serves || l.protocol().layer4 {
		return l, true
	}
	first, _ := t.firstOfPorts.Get(r, l.portKey())
	policy := t.policyOfChain(r, l)
	words, refused := q[partHash(encode(filterChain(first, l, policy)))]
	if !refused {
		return l, true
	}
	way := fmt.Sprintf("change the listener or what its %s refers to", l.ownerRef().Kind)
	if policy != nil {
		way += " or its " + policy.Kind.Kind
	}
	withheld := *l
	withheld.Serves, withheld.Problems = false, slices.Clone(l.Problems)
	withheld.problem(verdict.Problem{
		Field: fmt.Sprintf("spec.listeners[%d]", l.Index), Reason: string(gwapiv1.ListenerReasonInvalid), Weight: verdict.Invalid,
		Message: fmt.Sprintf("Envoy refused it, so it is not served: %s: %s", words, way),
	})
	return &withheld, true
}
