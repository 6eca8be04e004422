package translator

import (
	"fmt"
	"maps"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// extraBackends get requests besides the backends of a rule, such as a mirror or an authorization server.
type extraBackends struct {
	Backends []backend
	// Optional reports whether the rule is served without them.
	Optional bool
}

func (b extraBackends) equal(o extraBackends) bool {
	return b.Optional == o.Optional && slices.EqualFunc(b.Backends, o.Backends, backend.equal)
}

// meetRule answers what the filters of a rule need, backends of it later, when their clusters are known (boundRule.have).
// A rule without an answer that it must have is broken. Fields of problems are relative to the rule.
func (t *Tables) meetRule(r *flow.Read, from referrer, out *ruleRow, needs []feature.Need) (problems []verdict.Problem) {
	for _, need := range needs {
		met, found := t.meetOfRule(r, from, out, &need)
		for _, problem := range behind(need.Field, found) {
			problem.Condition = string(gwapiv1.RouteConditionResolvedRefs)
			problems = append(problems, problem)
		}
		out.Broken = out.Broken || !met && !need.Optional
	}
	return problems
}

func (t *Tables) meetOfRule(r *flow.Read, from referrer, out *ruleRow, need *feature.Need) (bool, []verdict.Problem) {
	if need.Backend == nil {
		if problem := t.lookUp(r, from.Ref, need, &out.Have); problem != nil {
			return false, []verdict.Problem{*problem}
		}
		return true, nil
	}
	backends, problems := t.neededBackends(r, from, need.Backend)
	if out.Extra == nil {
		out.Extra = map[string]extraBackends{}
	}
	out.Extra[need.Field] = extraBackends{Backends: backends, Optional: need.Optional}
	return slices.ContainsFunc(backends, backend.usable), problems
}

// neededBackends resolves the backends of a need, each by itself. Those with weight 0 get no requests, but are resolved
// so that their problems are reported. The fields of problems go on from that of the need.
func (t *Tables) neededBackends(r *flow.Read, from referrer, need *feature.Backend) (backends []backend,
	problems []verdict.Problem,
) {
	for i, ref := range need.Refs {
		b, problem := t.backend(r, from, &gwapiv1.HTTPBackendRef{
			BackendRef: gwapiv1.BackendRef{BackendObjectReference: ref.BackendObjectReference, Weight: ref.Weight},
		})
		if problem != nil {
			problem.Field = need.At(i) + problem.Field
			problems = append(problems, *problem)
		}
		if b.byRequest() {
			problems = append(problems, verdict.Problem{
				Field: need.At(i) + ".name", Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Unresolved,
				Message: fmt.Sprintf("%s takes the endpoint from the host of each request, which only the backend of a rule gets: "+
					"list endpoints", b.To),
			})
			b.To = nil
		}
		if need.HTTP2 != nil {
			b.HTTP2 = *need.HTTP2
		}
		b.Fallback = b.Fallback || deref(ref.Fallback)
		if b.Weight > 0 {
			backends = append(backends, b)
		}
	}
	if problem := checkTogether(backends); problem != nil {
		return nil, append(problems, *problem)
	}
	return withoutLostFallbacks(backends), problems
}

// behind makes the fields of problems go on from a field.
func behind(field string, problems []verdict.Problem) []verdict.Problem {
	for i := range problems {
		problems[i].Field = field + problems[i].Field
	}
	return problems
}

// checkTogether finds backends of a need that do not fit into the one cluster that it has.
func checkTogether(backends []backend) *verdict.Problem {
	problem := &verdict.Problem{Reason: string(gwapiv1.RouteReasonUnsupportedProtocol), Weight: verdict.Unresolved}
	if a, b := split(backends, func(b backend) bool { return b.To.named() }); a != nil && b != nil {
		problem.Message = fmt.Sprintf("%s has DNS names and %s has addresses, which do not go together in one cluster of Envoy: "+
			"use Backends with fqdn for all of them, or for none", a.To, b.To)
		return problem
	}
	if a, b := namedApart(backends); a != nil && b != nil {
		problem.Message = fmt.Sprintf("the server name for %s is the host of each request and that for %s is not, which do not "+
			"go together in one cluster of Envoy: write tls.sni into the Backend", a.To, b.To)
		return problem
	}
	if a, b := split(backends, backend.speaksHTTP2); a != nil && b != nil {
		problem.Message = fmt.Sprintf("%s is spoken to in HTTP/2 and %s is not, and Envoy speaks one of the two in a cluster: "+
			"use ports with the same appProtocol", a.To, b.To)
		return problem
	}
	return nil
}

// all returns the backends of a rule and the extra ones, in a stable order.
func (row *ruleRow) all() []backend {
	if len(row.Extra) == 0 {
		return row.Backends
	}
	backends := slices.Clone(row.Backends)
	for _, field := range slices.Sorted(maps.Keys(row.Extra)) {
		backends = append(backends, row.Extra[field].Backends...)
	}
	return backends
}

// extraFields lists the keys of extra in order.
func (b *boundRule) extraFields() []string {
	if len(b.extra) == 0 { // Most rules have none, and sorting allocates even then.
		return nil
	}
	return slices.Sorted(maps.Keys(b.extra))
}

// have are the answers to the needs of a rule: what was looked up, and the clusters of its extra backends.
func (b *boundRule) have() feature.Have {
	rule := &b.rules.Rules[b.rule]
	have := rule.Have
	for field := range rule.Extra {
		if use := b.extra[field]; use != nil {
			if have.Clusters == nil {
				have.Clusters = map[string]feature.Cluster{}
			}
			have.Clusters[field] = use.answer()
		}
	}
	return have
}

// answer is the cluster as features see it.
func (c *clusterUse) answer() feature.Cluster {
	b := c.Backends[0]
	host := b.To.host()
	if b.Port.Number != 0 { // Else its endpoints have ports of their own.
		host = fmt.Sprintf("%s:%d", host, b.Port.Number)
	}
	return feature.Cluster{Name: c.Name, Host: host}
}
