package translator

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// A policy with mergeType is merged over what would take effect without it. Each combination of policies that some
// route needs has one row, which all of these routes share (decision 057). It is a policy like any other for all that
// comes after.

// declareMerges: what several policies are merged into, and what policies do to routes.
func (t *Tables) declareMerges() {
	t.merges = flow.Expand(t.attached.rows, "merges", (*mergeRow).equal, t.merge)
	t.mergesByPolicy = flow.NewIndex(t.merges, "merges by policy", func(_ string, m *mergeRow) []string {
		return []string{m.Policy.String()}
	})
	combined := flow.Group(flow.NewIndex(t.merges, "combinations", combinations),
		"combinations of policies", flow.Same[bool], anyMember)
	t.mergedPolicies = flow.Derive(combined, "merged policies", (*policyRow).equal, t.mergedPolicy)
	t.effectivePolicies = flow.Concat("effective policies", (*policyRow).equal, t.policies, t.mergedPolicies)
	t.policiesByBackend = flow.NewIndex(t.effectivePolicies, "policies by backend", keysOfNeeds)
	t.fetches = flow.Group(flow.NewIndex(t.effectivePolicies, "policies by fetched content", fetchedBy),
		"content to fetch", equalFetches, t.fetch)
	t.rateLimits = flow.Group(flow.NewIndex(t.effectivePolicies, "policies by limits", limitsKeys),
		"limits of the rate limit service", equalResources, t.limits)
	t.policyEffects = flow.Derive(t.effectivePolicies, "effects of policies", (*effectRow).equal, t.effect)
	t.policyFilters = flow.Derive(t.effectivePolicies, "filters of policies", equalFilterConfigs, t.filterConfigs)
	t.policyConnections = flow.Derive(t.effectivePolicies, "connections of policies", feature.Connection.Equal,
		connectionOf)
	t.commons = flow.Group(t.listenersByConfig, "policies of route configurations", (*commonRow).equal, t.common)
}

// mergeRow is a policy with mergeType on a listener of the route that it targets.
type mergeRow struct {
	// Key is the key of what takes effect there: a merged policy, or the policy alone if there is none below it.
	Key string
	// Below are the targets of the policies that it is merged over, the nearest first.
	Below []policies.Target
	// Policy refers to the policy, and Ancestor is what its status calls the parent of the route.
	Policy   verdict.Ref
	Ancestor string
}

func (m *mergeRow) equal(o *mergeRow) bool {
	return m.Key == o.Key && m.Policy == o.Policy && m.Ancestor == o.Ancestor && slices.Equal(m.Below, o.Below)
}

// memberSeparator separates the keys of merged policies. No name contains it.
const memberSeparator = "+"

// mergedKey is the key of what several policies are merged into. It is that of the policy if it is only one.
func mergedKey(members []string) string { return strings.Join(members, memberSeparator) }

// mergeKey is the key of a mergeRow.
func mergeKey(attachment, parent, listener string) string {
	return attachment + "|" + parent + "|" + listener
}

// merge finds what a policy with mergeType is merged over, for each listener of the route that it targets.
func (t *Tables) merge(r *flow.Read, key string, a *attachmentRow) (rows []flow.Row[*mergeRow]) {
	kind := kindIndex(a.Policy.Kind.Kind)
	if !a.Policy.Merges || t.winnersAlong(r, []policies.Target{a.Target}).at(kind, a.Target).Key != a.Policy.key() {
		return nil // Another policy has the target.
	}
	for _, p := range t.parentsByRoute.Lookup(r, targetedRoute(a.Target)) {
		for _, l := range p.Value.Listeners {
			chain := policies.Chain(append([]policies.Target{a.Target, l.Listener.target()}, l.Listener.above()...)...)
			along := t.winnersAlong(r, chain)
			line := along.line(kind)
			row := &mergeRow{Key: mergedKey(line), Policy: a.Policy.ref(), Ancestor: ancestorKey(p.Value.ancestor())}
			for _, target := range chain {
				if slices.Contains(line[1:], along.at(kind, target).Key) {
					row.Below = append(row.Below, target)
				}
			}
			rows = append(rows, flow.Row[*mergeRow]{Key: mergeKey(key, p.Key, l.Listener.Key), Value: row})
		}
	}
	return rows
}

// combinations are the keys of the merged policies that a row needs.
func combinations(_ string, m *mergeRow) []string {
	if !strings.Contains(m.Key, memberSeparator) {
		return nil
	}
	return []string{m.Key}
}

// mergedPolicy merges the policies that the key names.
func (t *Tables) mergedPolicy(r *flow.Read, key string, _ bool) (*policyRow, bool) {
	members := rowsOf(r, t.policies, strings.Split(key, memberSeparator))
	if slices.Contains(members, nil) {
		return nil, false // Unreachable: the targets of a policy go together with it.
	}
	first := members[0]
	row := &policyRow{
		Kind: first.Kind, Policy: first.Policy, Problems: slices.Clone(first.Own), Own: first.Own, Route: &routev3.Route{},
		Broken: first.Beyond, Beyond: first.Beyond,
	}
	for i, m := range members {
		row.Members = append(row.Members, m.Policy)
		if i > 0 && m.spoils(i == len(members)-1) {
			row.Broken = true
			row.Problems = append(row.Problems, brokenMember(m))
		}
	}
	if row.Broken {
		return row, true
	}
	merged, err := row.Kind.Merge(row.Members)
	if err != nil {
		row.Broken = true
		row.Problems = append(row.Problems, feature.Invalid(mergeTypeField,
			"the policy cannot be merged over %s: %v: correct it, or remove mergeType", members[1].name(), err))
		return row, true
	}
	row.Policy = merged.Policy
	t.judge(r, row, func(field string) verdict.Ref { return row.refTo(merged.Owner(field)) })
	row.setEffects(merged.Route)
	for i := range row.Problems[len(first.Own):] {
		attribute(&row.Problems[len(first.Own)+i], row, merged)
	}
	return row, true
}

// spoils reports whether nothing that the policy is merged with is served. The last one of the merged policies is
// complete in itself. What is wrong with the spec of another one can be put right by the policies that it is merged
// with.
func (p *policyRow) spoils(last bool) bool {
	return last && p.Broken || p.Beyond
}

const mergeTypeField = policies.SpecField + ".mergeType"

// brokenMember is the problem of a policy that is merged over a broken one.
func brokenMember(m *policyRow) verdict.Problem {
	return verdict.Problem{
		Field: mergeTypeField, Reason: string(gwapiv1.PolicyReasonInvalid), Weight: verdict.Unresolved,
		Message: fmt.Sprintf("%s, which the policy is merged over, is broken, so nothing that the policy covers is served: "+
			"correct that one, or remove mergeType", m.name()),
	}
}

// attribute makes a problem of a merged policy one of the most specific policy. If another one wrote the field, the
// message names it.
func attribute(problem *verdict.Problem, p *policyRow, merged *policies.Merged) {
	if owner := merged.Owner(problem.Field); owner != p.Members[0] {
		problem.Message = fmt.Sprintf("field %s of %s, which the policy is merged over: %s", problem.Field,
			objectName(p.refTo(owner)), problem.Message)
		problem.Field = mergeTypeField
	}
}

// name names the policy in messages.
func (p *policyRow) name() string { return objectName(p.ref()) }

func objectName(ref verdict.Ref) string {
	return fmt.Sprintf("%s %q", ref.Kind, Key(ref.Namespace, ref.Name))
}

// refTo refers to a policy of the row's kind.
func (p *policyRow) refTo(o policies.Object) verdict.Ref {
	ref := p.ref()
	ref.Namespace, ref.Name = o.GetNamespace(), o.GetName()
	return ref
}

// policyMerges is what takes effect of a policy with mergeType on its ancestors: a row for each policy that it is
// merged into, or its own row if there is nothing to merge it over.
type policyMerges struct {
	policy *policyRow
	rows   []ancestorMerge
	// none reports whether the policy takes effect nowhere.
	none bool
}

// ancestorMerge is a row for one ancestor.
type ancestorMerge struct {
	ancestor string
	row      *policyRow
}

func (t *Tables) mergesOf(r *flow.Read, p *policyRow) policyMerges {
	m := policyMerges{policy: p}
	for _, row := range t.mergesByPolicy.Lookup(r, p.ref().String()) {
		if effective, ok := t.effectivePolicies.Get(r, row.Value.Key); ok {
			m.rows = append(m.rows, ancestorMerge{row.Value.Ancestor, effective})
		}
	}
	m.none = len(m.rows) == 0
	return m
}

// ancestorKey is the same for equal ancestors, which have all of these fields.
func ancestorKey(a gwapiv1.ParentReference) string {
	return fmt.Sprintf("%s/%s/%s/%s", deref(a.Kind), deref(a.Namespace), a.Name, deref(a.SectionName))
}

// on leaves the rows for one ancestor.
func (m policyMerges) on(ancestor gwapiv1.ParentReference) policyMerges {
	m.rows = slices.DeleteFunc(slices.Clone(m.rows),
		func(row ancestorMerge) bool { return row.ancestor != ancestorKey(ancestor) })
	return m
}

// problems are those of what the policy comes to. If it takes effect nowhere, it is judged as it is written.
func (m policyMerges) problems() []verdict.Problem {
	if m.none {
		return slices.Clone(m.policy.Problems)
	}
	found := slices.Clone(m.policy.Own)
	for _, row := range m.rows {
		found = append(found, row.row.Problems...)
	}
	return verdict.Added(nil, found)
}

// over names the policies that the policy is merged over, the nearest ones first.
func (m policyMerges) over() (names []string) {
	for _, row := range m.rows {
		for _, member := range row.row.Members[1:] {
			if name := objectName(m.policy.refTo(member)); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
