package translator

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// Policies of all kinds attach by the code in this file. It is used once for each group of kinds whose policies are
// judged in one table: policies on backends come before those that refer to backends themselves (decision 060).

// attaching is what decides where a policy is attached.
type attaching struct {
	Kind       policies.Kind
	Policy     Object
	References []policies.Reference
	Selectors  []policies.Selector
}

func (a *attaching) ref() verdict.Ref { return a.Kind.Ref(a.Policy) }

// judgedPolicy is the row of a policy that was judged on its own.
type judgedPolicy[P any] interface {
	comparable
	equal(P) bool
	attaching() *attaching
}

// attachment is one target of a policy.
type attachment[P judgedPolicy[P]] struct {
	Policy P
	Target policies.Target
	// Field is the path of the targetRef that names the target, or of the selector that found it.
	Field string
	// Unmet says why the target cannot be attached to, nil if it can.
	Unmet *verdict.Problem
}

func (a *attachment[P]) equal(o *attachment[P]) bool {
	return a.Policy.equal(o.Policy) && a.Target == o.Target && a.Field == o.Field && equalProblem(a.Unmet, o.Unmet)
}

// targetPolicies says which policies a target has.
type targetPolicies[P judgedPolicy[P]] struct {
	// Winners are those that have it, by the index of their kind; the zero value where there is none.
	Winners []P
}

func (p *targetPolicies[P]) equal(o *targetPolicies[P]) bool {
	return slices.EqualFunc(p.Winners, o.Winners, P.equal)
}

// winner is the policy of a kind that the target has, the zero value if it has none.
func (p *targetPolicies[P]) winner(kind int) (none P) {
	if p == nil {
		return none
	}
	return p.Winners[kind]
}

// attachTables are where the policies of some kinds are attached, and which of them each target has.
type attachTables[P judgedPolicy[P]] struct {
	kinds    []policies.Kind
	rows     *flow.Table[*attachment[P]]
	byPolicy *flow.Index[*attachment[P]]
	// targets are keyed by placeKey.
	targets *flow.Table[*targetPolicies[P]]
}

// declareAttached declares the attachments of the policies in a table, which have these kinds.
func declareAttached[P judgedPolicy[P]](t *Tables, judged *flow.Table[P], kinds ...policies.Kind) *attachTables[P] {
	a := &attachTables[P]{kinds: kinds}
	a.rows = flow.Expand(judged, "attachments of "+judged.Name(), (*attachment[P]).equal,
		func(r *flow.Read, _ string, p P) []flow.Row[*attachment[P]] {
			return attach(t, r, p)
		})
	a.byPolicy = flow.NewIndex(a.rows, "attachments by policy", func(_ string, row *attachment[P]) []string {
		return []string{row.Policy.attaching().ref().String()}
	})
	byTarget := flow.NewIndex(a.rows, "attachments by target", func(_ string, row *attachment[P]) []string {
		return []string{placeKey(row.Target)}
	})
	a.targets = flow.Group(byTarget, "targets of "+judged.Name(), (*targetPolicies[P]).equal, a.contest)
	return a
}

// attach finds the targets of a policy.
func attach[P judgedPolicy[P]](t *Tables, r *flow.Read, p P) []flow.Row[*attachment[P]] {
	var rows []flow.Row[*attachment[P]]
	is := p.attaching()
	seen := map[policies.Target]bool{}
	add := func(a *attachment[P]) {
		key := is.ref().String() + "|" + targetKey(is.Kind.Kind, a.Target)
		if seen[a.Target] {
			if a.Unmet == nil {
				return
			}
			key += "|" + a.Field // Another reference to it may be right.
		}
		seen[a.Target] = true
		rows = append(rows, flow.Row[*attachment[P]]{Key: key, Value: a})
	}
	for _, ref := range is.References {
		switch {
		case len(ref.Problems) == 0:
			add(&attachment[P]{Policy: p, Target: ref.Target, Field: ref.Field, Unmet: t.unmet(r, is.Kind, ref)})
		case is.Kind.OfBackends():
			add(&attachment[P]{Policy: p, Target: ref.Target, Field: ref.Field, Unmet: &ref.Problems[0]})
		}
	}
	for _, s := range is.Selectors {
		for _, target := range t.selectTargets(r, is.ref(), s) {
			add(&attachment[P]{Policy: p, Target: target, Field: s.Field})
		}
	}
	return rows
}

// unmet says which part of a reference's target is missing.
func (t *Tables) unmet(r *flow.Read, policy policies.Kind, ref policies.Reference) *verdict.Problem {
	sections, ok := t.targetKinds[ref.Kind].sections(r, Key(ref.Namespace, ref.Name))
	if !ok {
		return new(policies.TargetNotFound(ref))
	}
	if ref.Section != "" && !slices.Contains(sections, ref.Section) {
		return new(policies.SectionNotFound(policy, ref, sections))
	}
	return nil
}

// contest finds the policies that a target has: of each kind the oldest.
func (a *attachTables[P]) contest(_ *flow.Read, _ string, members []flow.Row[*attachment[P]]) (*targetPolicies[P],
	bool,
) {
	rows := map[Object]P{}
	candidates := make([][]Object, len(a.kinds))
	for _, m := range members {
		if m.Value.Unmet == nil {
			p := m.Value.Policy.attaching()
			kind := a.kind(p.Kind)
			rows[p.Policy] = m.Value.Policy
			candidates[kind] = append(candidates[kind], p.Policy)
		}
	}
	row := &targetPolicies[P]{Winners: make([]P, len(candidates))}
	for kind, of := range candidates {
		if winner, _ := policies.Winner(of); winner != nil {
			row.Winners[kind] = rows[winner]
		}
	}
	return row, len(rows) > 0
}

// kind is the index of a kind.
func (a *attachTables[P]) kind(k policies.Kind) int {
	return slices.IndexFunc(a.kinds, func(other policies.Kind) bool { return other.Kind == k.Kind })
}

// at returns the policy of the first kind that a target has, the zero value if it has none.
func (a *attachTables[P]) at(r *flow.Read, target policies.Target) P {
	row, _ := a.targets.Get(r, placeKey(target))
	return row.winner(0)
}

// problems are those of a policy with one of its targets: it is not there, or an older policy has it.
func (a *attachTables[P]) problems(r *flow.Read, at *attachment[P]) []verdict.Problem {
	if at.Unmet != nil {
		return []verdict.Problem{*at.Unmet}
	}
	var none P
	loser := at.Policy.attaching()
	row, _ := a.targets.Get(r, placeKey(at.Target))
	winner := row.winner(a.kind(loser.Kind))
	if winner == none || winner.attaching().Policy == loser.Policy {
		return nil
	}
	return []verdict.Problem{policies.Conflicted(loser.Kind, loser.Policy, at.Field, at.Target, winner.attaching().Policy)}
}

// reporter says what the status of policies consists of.
type reporter[P judgedPolicy[P]] struct {
	// problems are those of an attachment.
	problems func(r *flow.Read, at *attachment[P]) []verdict.Problem
	// ancestors are the objects that an attachment is reported for.
	ancestors func(r *flow.Read, at *attachment[P]) []gwapiv1.ParentReference
	// conditions are those of an ancestor. at is the first attachment that it is reported for, and found are the problems
	// of all of them.
	conditions func(ref gwapiv1.ParentReference, at *attachment[P], found []verdict.Problem) []metav1.Condition
}

// status is the status of a policy: an entry for each ancestor of its attachments. Own are the problems of the policy
// wherever it is attached. A target that does not exist and has no ancestor is reported on those of the other targets.
func (a *attachTables[P]) status(t *Tables, r *flow.Read, p P, own []verdict.Problem, report reporter[P]) *Status {
	problems := slices.Clone(own)
	var refs []gwapiv1.ParentReference
	var first []*attachment[P]
	var found [][]verdict.Problem
	var elsewhere []verdict.Problem
	for _, row := range a.byPolicy.Lookup(r, p.attaching().ref().String()) {
		there := report.problems(r, row.Value)
		problems = append(problems, there...)
		ancestors := report.ancestors(r, row.Value)
		if len(ancestors) == 0 && row.Value.Unmet != nil {
			elsewhere = append(elsewhere, there...)
		}
		for _, ref := range ancestors {
			i := slices.IndexFunc(refs, func(known gwapiv1.ParentReference) bool { return status.EqualParents(known, ref) })
			if i < 0 {
				i, refs, first, found = len(refs), append(refs, ref), append(first, row.Value), append(found, nil)
			}
			found[i] = append(found[i], there...)
		}
	}
	desired := &gwapiv1.PolicyStatus{}
	for i, ref := range refs {
		desired.Ancestors = append(desired.Ancestors, gwapiv1.PolicyAncestorStatus{
			AncestorRef: ref, ControllerName: gwapiv1.GatewayController(t.settings.ControllerName),
			Conditions: report.conditions(ref, first[i], append(found[i], elsewhere...)),
		})
	}
	desired.Ancestors = limitAncestors(desired.Ancestors)
	return newStatus(p.attaching().Policy, problems, desired)
}
