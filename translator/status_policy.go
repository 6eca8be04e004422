package translator

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// declareOverrides: which policies replace which.
func (t *Tables) declareOverrides() {
	t.overrides = flow.Derive(t.attached.rows, "overrides", (*overrideRow).equal, t.override)
	t.overridesByBroader = flow.NewIndex(t.overrides, "overrides by broader target",
		func(_ string, o *overrideRow) []string { return o.Broader })
	t.overridesByBelow = flow.NewIndex(t.overrides, "overrides by target below",
		func(_ string, o *overrideRow) []string { return o.Below })
}

// overrideRow has the broader targets on which a policy of the same kind is replaced because of a more specific
// attachment.
type overrideRow struct {
	Target policies.Target
	// Policy is what takes effect on the target.
	Policy verdict.Ref
	// Broader are the keys of those targets, see targetKey. Below are the keys of targets whose policies are not
	// replaced, because this one is merged over them.
	Broader, Below []string
}

func (o *overrideRow) equal(other *overrideRow) bool {
	return o.Target == other.Target && o.Policy == other.Policy && slices.Equal(o.Broader, other.Broader) &&
		slices.Equal(o.Below, other.Below)
}

func (t *Tables) override(r *flow.Read, key string, a *attachmentRow) (*overrideRow, bool) {
	kind := a.Policy.Kind.Kind
	if holder, ok := t.attached.targets.Get(r, placeKey(a.Target)); !ok ||
		!holder.winner(kindIndex(kind)).equal(a.Policy) {
		return nil, false // The target is not there, or another policy has it and overrides in its own name.
	}
	row := &overrideRow{Target: a.Target, Policy: a.Policy.ref()}
	own := policies.Chain(a.Target)[1:]
	for _, p := range t.parentsByRoute.Lookup(r, targetedRoute(a.Target)) {
		for _, l := range p.Value.Listeners {
			m, _ := t.merges.Get(r, mergeKey(key, p.Key, l.Listener.Key))
			row.add(kind, m, own)
			row.add(kind, m, l.Listener.chain())
		}
	}
	if len(row.Broader)+len(row.Below) == 0 {
		row.add(kind, nil, own)
	}
	if s, ok := t.targetedSet(r, a.Target); ok && s.allowed() {
		row.Broader = append(row.Broader, targetKey(kind, s.above()))
	}
	for _, keys := range []*[]string{&row.Broader, &row.Below} {
		slices.Sort(*keys)
		*keys = slices.Compact(*keys)
	}
	return row, len(row.Broader)+len(row.Below) > 0
}

// add adds broader targets. The row says how the policy is merged; nil if it is not.
func (o *overrideRow) add(kind string, m *mergeRow, targets []policies.Target) {
	for _, broader := range targets {
		if m != nil && slices.Contains(m.Below, broader) {
			o.Below = append(o.Below, targetKey(kind, broader))
		} else {
			o.Broader = append(o.Broader, targetKey(kind, broader))
		}
	}
}

// targetedRoute is the key of the targeted route. If the target is not a route, no route has the key.
func targetedRoute(target policies.Target) string {
	return routeKey(target.Kind, Key(target.Namespace, target.Name))
}

// targetedSet is the targeted ListenerSet. It is false if the target is of another kind, or if the ListenerSet is not
// ours.
func (t *Tables) targetedSet(r *flow.Read, target policies.Target) (*listenerSetRow, bool) {
	if target.Kind != "ListenerSet" {
		return nil, false
	}
	return t.listenerSets.Get(r, Key(target.Namespace, target.Name))
}

func (t *Tables) policyStatus(r *flow.Read, _ string, p *policyRow) (*Status, bool) {
	if t.elsewhere(r, p) {
		return newStatus(p.Policy, nil, &gwapiv1.PolicyStatus{}), true // What we once said is taken back.
	}
	merges := t.mergesOf(r, p)
	return t.attached.status(t, r, p, append(merges.problems(), t.untimelyContent(r, p)...), reporter[*policyRow]{
		problems: t.attachmentProblems, ancestors: t.ancestors,
		conditions: func(ref gwapiv1.ParentReference, at *attachmentRow, found []verdict.Problem) []metav1.Condition {
			return t.ancestorConditions(r, at, merges.on(ref), found)
		},
	}), true
}

// attachmentProblems are the problems of a policy with one of its targets: it does not exist, an older policy has it,
// or listeners share a port that has other settings.
func (t *Tables) attachmentProblems(r *flow.Read, a *attachmentRow) []verdict.Problem {
	if problems := t.attached.problems(r, a); len(problems) > 0 {
		return problems
	}
	return t.conflictsOfListeners(r, a)
}

// ancestorConditions are the conditions of an attachment, and of what the policy is merged into there. found are the
// problems of all attachments with this ancestor.
func (t *Tables) ancestorConditions(r *flow.Read, a *attachmentRow, merges policyMerges,
	found []verdict.Problem,
) []metav1.Condition {
	problems := append(merges.problems(), found...)
	idle := append(status.About(problems, feature.ConditionFields, ""), t.unused(r, a)...)
	problems = slices.DeleteFunc(problems, func(p verdict.Problem) bool { return p.Condition == feature.ConditionFields })
	accepted := status.Condition(string(gwapiv1.PolicyConditionAccepted), string(gwapiv1.PolicyReasonAccepted),
		"The policy is accepted.", problems)
	conditions, ignored := []metav1.Condition{accepted}, append(status.FalseOnly(feature.ConditionFields, idle),
		status.FalseOnly(conditionContent, t.untimelyContent(r, a.Policy))...)
	if accepted.Status != metav1.ConditionTrue {
		return append(conditions, ignored...)
	}
	key := targetKey(a.Policy.Kind.Kind, a.Target)
	if message := policies.Merging(a.Policy.Policy, merges.over(),
		others(a, t.overridesByBelow.Lookup(r, key))); message != "" {
		conditions = append(conditions, metav1.Condition{
			Type: policies.ReasonMerged, Status: metav1.ConditionTrue, Reason: policies.ReasonMerged, Message: message,
		})
	}
	if at := others(a, t.overridesByBroader.Lookup(r, key)); len(at) > 0 {
		conditions = append(conditions, metav1.Condition{
			Type: policies.ReasonOverridden, Status: metav1.ConditionTrue, Reason: policies.ReasonOverridden,
			Message: policies.Overridden(a.Policy.Kind, a.Policy.Policy, at),
		})
	}
	return append(conditions, ignored...)
}

// others are the targets of other policies than that of the attachment.
func others(a *attachmentRow, overrides []flow.Row[*overrideRow]) (at []policies.Target) {
	for _, o := range overrides {
		if o.Value.Policy != a.Policy.ref() { // A policy may be attached on several levels.
			at = append(at, o.Value.Target)
		}
	}
	return at
}

// ancestors are the objects in the policy's status: the targeted Gateway or ListenerSet, or each parent of a targeted
// route. For a target that does not exist it is the target itself, because a status without any entry would hide the
// problem.
func (t *Tables) ancestors(r *flow.Read, a *attachmentRow) []gwapiv1.ParentReference {
	group, kind := gwapiv1.Group(gwapiv1.GroupName), gwapiv1.Kind(a.Target.Kind)
	namespace := gwapiv1.Namespace(a.Target.Namespace)
	itself := gwapiv1.ParentReference{
		Group: &group, Kind: &kind, Namespace: &namespace,
		Name: gwapiv1.ObjectName(a.Target.Name),
	}
	listeners, ours := t.hasListeners(r, a.Target)
	if a.Target.Section != "" && listeners {
		section := gwapiv1.SectionName(a.Target.Section)
		itself.SectionName = &section
	}
	switch {
	case a.Unmet != nil && a.Unmet.Missing != nil:
		return []gwapiv1.ParentReference{itself}
	case listeners && !ours:
		return nil
	case listeners:
		return []gwapiv1.ParentReference{itself}
	}
	var refs []gwapiv1.ParentReference
	for _, p := range t.parentsByRoute.Lookup(r, targetedRoute(a.Target)) {
		refs = append(refs, p.Value.ancestor())
	}
	return refs
}

// ancestor refers to the parent of a route, for the status of policies on the route.
func (p *parentRow) ancestor() gwapiv1.ParentReference {
	owner, group := p.owner(), gwapiv1.Group(gwapiv1.GroupName)
	kind, namespace := gwapiv1.Kind(owner.Kind), gwapiv1.Namespace(owner.Namespace)
	return gwapiv1.ParentReference{
		Group: &group, Kind: &kind, Namespace: &namespace, Name: gwapiv1.ObjectName(owner.Name),
		SectionName: p.ref().SectionName,
	}
}

// hasListeners reports whether the target is of a kind that has listeners, and then whether it is ours.
func (t *Tables) hasListeners(r *flow.Read, target policies.Target) (listeners, ours bool) {
	served := t.targetKinds[target.Kind].served
	return served != nil, served != nil && served(r, Key(target.Namespace, target.Name))
}

// limitAncestors enforces the API's limit: ancestors with problems come first, and the last one has a note that more
// were left out.
func limitAncestors(all []gwapiv1.PolicyAncestorStatus) []gwapiv1.PolicyAncestorStatus {
	if len(all) <= status.MaxAncestors {
		return all
	}
	slices.SortStableFunc(all, func(a, b gwapiv1.PolicyAncestorStatus) int {
		return compareBool(status.True(a.Conditions, "Accepted"), status.True(b.Conditions, "Accepted"))
	})
	kept := all[:status.MaxAncestors]
	last := &kept[status.MaxAncestors-1]
	last.Conditions = append(slices.Clone(last.Conditions), metav1.Condition{
		Type: "Aggregated", Status: metav1.ConditionTrue, Reason: "Aggregated",
		Message: "more ancestors than a status can hold; those with problems are shown first",
	})
	return kept
}
