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

// extraBackend is a backend that gets requests besides the backends of a rule, such as a mirror or an authorization
// server.
type extraBackend struct {
	backend
	// Optional reports whether the rule is served without it.
	Optional bool
}

func (b extraBackend) equal(o extraBackend) bool {
	return b.Optional == o.Optional && b.backend.equal(o.backend)
}

// extraBackends resolves what the filters of a rule need. A rule that must not be served without one of them is broken
// if that cannot be used. Fields of problems are relative to the rule.
func (t *Tables) extraBackends(
	r *flow.Read, from referrer, out *ruleRow, needs []feature.Need,
) (problems []verdict.Problem) {
	for _, need := range needs {
		b, problem := t.extraBackend(r, from, need.Backend)
		if problem != nil {
			problem.Field = need.Field + problem.Field
			problem.Condition = string(gwapiv1.RouteConditionResolvedRefs)
			problems = append(problems, *problem)
		}
		if out.Extra == nil {
			out.Extra = map[string]extraBackend{}
		}
		out.Extra[need.Field] = extraBackend{backend: b, Optional: need.Optional}
		out.Broken = out.Broken || !need.Optional && !b.usable()
	}
	return problems
}

func (t *Tables) extraBackend(r *flow.Read, from referrer, need *feature.Backend) (backend, *verdict.Problem) {
	ref := gwapiv1.HTTPBackendRef{BackendRef: gwapiv1.BackendRef{BackendObjectReference: need.Ref}}
	b, problem := t.backend(r, from, &ref)
	if need.HTTP2 != nil {
		b.HTTP2 = *need.HTTP2
	}
	return b, problem
}

// all returns the backends of a rule and the extra ones, in a stable order.
func (row *ruleRow) all() []backend {
	backends := slices.Clone(row.Backends)
	for _, field := range slices.Sorted(maps.Keys(row.Extra)) {
		backends = append(backends, row.Extra[field].backend)
	}
	return backends
}

// have answers the needs of a rule by the clusters of its extra backends. Unmet reports whether one is missing without
// which the rule must not be served.
func (b *boundRule) have() (have feature.Have, unmet bool) {
	for field, extra := range b.rules.Rules[b.rule].Extra {
		use := b.extra[field]
		if use == nil {
			unmet = unmet || !extra.Optional
			continue
		}
		if have.Clusters == nil {
			have.Clusters = map[string]feature.Cluster{}
		}
		have.Clusters[field] = use.answer()
	}
	return have, unmet
}

// answer is the cluster as features see it.
func (c *clusterUse) answer() feature.Cluster {
	b := c.Backends[0]
	authority := b.To.host()
	if b.Port.Number != 0 { // Else its endpoints have ports of their own.
		authority = fmt.Sprintf("%s:%d", authority, b.Port.Number)
	}
	return feature.Cluster{Name: c.Name, Authority: authority}
}
