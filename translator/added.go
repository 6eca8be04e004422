package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// added collects the new problems of changed rows, and other consequences for objects of others. changed is the object
// whose change is tried.
func (t *Tables) added(r *flow.Read, c *flow.Changes, changed verdict.Ref) []Finding {
	var findings []Finding
	for _, table := range t.statusTables() {
		for _, key := range flow.Changed(c, table) {
			now, ok := table.Get(r, key)
			if !ok {
				continue // The object lost its verdict, and with it its problems.
			}
			old, had := flow.Before(c, table, key)
			if !had {
				old = &Status{Object: now.Object}
			}
			ref := t.refOf(now.Object)
			problems := verdict.Added(old.Problems, now.Problems)
			if ref != changed {
				problems = inherited(old.Problems, problems, changed)
			}
			if ref != changed && len(problems) == 0 {
				problems = left(old, now)
			}
			for _, p := range problems {
				findings = append(findings, Finding{Object: ref, Problem: p})
			}
		}
	}
	findings = append(findings, t.overridden(r, c, changed)...)
	return append(findings, t.switched(r, c)...)
}

// inherited are the problems that a change adds to an object that has not changed itself. If the object had a problem
// there for the same reason before, the change has only given it other words. If they are about the changed object, its
// author reads them, but was not the one who broke it.
func inherited(before, problems []verdict.Problem, changed verdict.Ref) (kept []verdict.Problem) {
	for _, p := range problems {
		if verdict.Known(before, p) {
			if p.About == nil || *p.About != changed {
				continue
			}
			p.Weight = verdict.Notice
		}
		kept = append(kept, p)
	}
	return kept
}

// overridden reports policies in other namespaces that the changed policy overrides, where it did not before.
func (t *Tables) overridden(r *flow.Read, c *flow.Changes, changed verdict.Ref) (findings []Finding) {
	told := map[verdict.Ref]bool{}
	for _, key := range flow.Changed(c, t.overrides) {
		now, ok := t.overrides.Get(r, key)
		if !ok || now.Policy != changed {
			continue
		}
		old, had := flow.Before(c, t.overrides, key)
		for _, broader := range now.Broader {
			kind, place, _ := strings.Cut(broader, "|")
			targets, _ := t.attached.targets.Get(r, place)
			policy := targets.winner(kindIndex(kind))
			if policy == nil || had && slices.Contains(old.Broader, broader) {
				continue
			}
			ref := policy.ref()
			if ref.Namespace == changed.Namespace || told[ref] {
				continue
			}
			told[ref] = true
			findings = append(findings, Finding{Object: ref, Problem: verdict.Problem{
				Field: policies.SpecField, Reason: policies.ReasonOverridden, Weight: verdict.Notice,
				Message: fmt.Sprintf("%s %s takes effect instead on %s %s: keep it out of there, or agree with the owners first",
					changed.Kind, Key(changed.Namespace, changed.Name), now.Target.Kind, Key(now.Target.Namespace, now.Target.Name)),
				Loss: "a part of what it covers to this one, which is more specific",
			}})
		}
	}
	return findings
}

// left reports the parents of a route that are not ours any more, although they are still there.
func left(before, now *Status) (problems []verdict.Problem) {
	old, _ := before.Desired.(*gwapiv1.RouteStatus)
	desired, _ := now.Desired.(*gwapiv1.RouteStatus)
	if old == nil || desired == nil {
		return nil
	}
	for _, p := range old.Parents {
		stays := slices.ContainsFunc(desired.Parents, func(o gwapiv1.RouteParentStatus) bool {
			return status.EqualParents(o.ParentRef, p.ParentRef)
		})
		if stays || !status.True(p.Conditions, string(gwapiv1.RouteConditionAccepted)) {
			continue
		}
		kind := cmp.Or(deref(p.ParentRef.Kind), "Gateway")
		problems = append(problems, verdict.Problem{
			Field: "spec.parentRefs", Reason: string(gwapiv1.RouteReasonNoMatchingParent), Weight: verdict.Notice,
			Message: fmt.Sprintf("%s %q is not served here any more: attach the route to another one", kind, p.ParentRef.Name),
			Loss:    "its " + string(kind),
		})
	}
	return problems
}
