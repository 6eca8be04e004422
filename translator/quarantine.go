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

// quarantineRow is what proxies of a fleet have rejected: the hashes of parts, with Envoy's messages. An object from
// which such a part was made fails closed and reports this, until it changes.
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

// rejectedRule is a rule of a route that does not forward, because Envoy rejected a part of it or because it is not
// sent to Envoy.
type rejectedRule struct {
	Route string
	Rule  int
	// Message says why, and the way out.
	Message string
	Weight  verdict.Weight
	// ByEnvoy reports whether Envoy has rejected it. Otherwise it was never sent.
	ByEnvoy bool
}

// rulesRejected is how many rules of a route Envoy rejects before the whole route fails closed. Then nothing more of it
// is tried (xds, trial.go).
const rulesRejected = 3

// rejectedRules counts the rules with a part that Envoy rejected.
func (b *bindingRow) rejectedRules() int {
	rules := map[int]bool{}
	for _, rejected := range b.Rejected {
		if rejected.ByEnvoy {
			rules[rejected.Rule] = true
		}
	}
	return len(rules)
}

func rejectedRoutes(_ string, b *bindingRow) []string {
	var keys []string
	for _, rejected := range b.Rejected {
		if !slices.Contains(keys, rejected.Route) {
			keys = append(keys, rejected.Route)
		}
	}
	return keys
}

// reject notes that a part of the rule was rejected.
func (b *bindingRow) reject(bound *boundRule, words string) {
	message := fmt.Sprintf("Envoy rejected it, so it %s: %s: change the rule", bound.rules.Route.Kind.fails(), words)
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
	b.Rejected[len(b.Rejected)-1].ByEnvoy = true
}

// withdraw notes why a rule does not forward.
func (b *bindingRow) withdraw(bound *boundRule, message string) {
	bound.rejected = true
	b.Rejected = append(b.Rejected, rejectedRule{
		Route: bound.rules.Route.Key, Rule: bound.rule, Message: message,
		Weight: verdict.Invalid,
	})
}

// withoutRejected removes the clusters of the rule that Envoy rejected. Their share is answered with 500.
func (q quarantineRow) withoutRejected(b *bindingRow, bound *boundRule) {
	if len(q) == 0 {
		return
	}
	for i, use := range bound.clusters {
		if words, rejected := q.anyVersion(use); rejected {
			bound.clusters[i] = nil
			b.reject(bound, words)
		}
	}
	for _, field := range bound.extraFields() {
		if words, rejected := q.anyVersion(bound.extra[field]); rejected {
			bound.extra[field] = nil
			b.reject(bound, words)
		}
	}
}

// anyVersion returns Envoy's message if it rejected the cluster or what it needs. A nil cluster is never rejected.
func (q quarantineRow) anyVersion(use *clusterUse) (words string, rejected bool) {
	if use == nil {
		return "", false
	}
	for _, version := range use.versions() {
		if words, rejected := q[version]; rejected {
			return words, true
		}
	}
	return "", false
}

// rejectedProblems are the problems of a route with its rejected rules, without duplicates.
func (t *Tables) rejectedProblems(r *flow.Read, key string) []verdict.Problem {
	var problems []verdict.Problem
	for _, b := range t.rejectedByRoute.Lookup(r, key) {
		for _, rejected := range b.Value.Rejected {
			if rejected.Route != key {
				continue
			}
			p := verdict.Problem{
				Field: fmt.Sprintf("spec.rules[%d]", rejected.Rule), Reason: string(gwapiv1.RouteReasonUnsupportedValue),
				Weight:  rejected.Weight,
				Message: rejected.Message,
			}
			if !slices.ContainsFunc(problems, func(known verdict.Problem) bool { return equalProblem(&known, &p) }) {
				problems = append(problems, p)
			}
		}
	}
	return problems
}

// withhold removes a listener for HTTP from Envoy's configuration if Envoy rejected its filter chain. The plain HTTP
// listeners of a port share one.
func (t *Tables) withhold(r *flow.Read, _ string, l *listenerRow) (*listenerRow, bool) {
	q, _ := t.quarantines.Get(r, l.fleet())
	if len(q) == 0 || !l.Serves || l.protocol().layer4 {
		return l, true
	}
	first, _ := t.firstOfPorts.Get(r, l.portKey())
	policy := t.policyOfChain(r, l)
	words, rejected := q[partHash(encode(filterChain(first, l, policy)))]
	if !rejected {
		return l, true
	}
	way := fmt.Sprintf("change the listener or what its %s refers to", l.ownerRef().Kind)
	if policy != nil {
		way += " or its " + policy.Kind.Kind
	}
	withheld := *l
	withheld.Serves, withheld.Problems = false, slices.Clone(l.Problems)
	withheld.problem(verdict.Problem{
		Field: fmt.Sprintf("spec.listeners[%d]", l.Index), Reason: string(gwapiv1.ListenerReasonInvalid),
		Weight:  verdict.Invalid,
		Message: fmt.Sprintf("Envoy rejected it, so it is not served: %s: %s", words, way),
	})
	return &withheld, true
}
