package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// Older orders objects by creation time, then by namespace and name: negative if a comes first. An object that has not
// been created yet comes after all existing ones.
func Older(a, b metav1.Object) int {
	return cmp.Or(
		created(a).Compare(created(b)),
		cmp.Compare(a.GetNamespace(), b.GetNamespace()),
		cmp.Compare(a.GetName(), b.GetName()),
	)
}

// created is when an object was created. One that does not exist yet will be created last.
func created(o metav1.Object) time.Time {
	if at := o.GetCreationTimestamp(); !at.IsZero() {
		return at.Time
	}
	return time.Unix(1<<40, 0)
}

// Winner is the oldest of the policies of one kind with the same target; the others lose, in order of age. A policy
// that is twice among the candidates counts once.
func Winner[P metav1.Object](candidates []P) (winner P, losers []P) {
	ordered := slices.Clone(candidates)
	slices.SortFunc(ordered, func(a, b P) int { return Older(a, b) })
	ordered = slices.CompactFunc(ordered, func(a, b P) bool { return same(a, b) })
	if len(ordered) == 0 {
		return winner, nil
	}
	return ordered[0], ordered[1:]
}

// Conflicted is the problem of a policy that lost its target to an older one of its kind. field is the path of the
// reference or of the selector. The message does not name a winner of another namespace.
func Conflicted(kind Kind, loser metav1.Object, field string, target Target, winner metav1.Object) verdict.Problem {
	name := fmt.Sprintf("%s %q", kind.Kind, winner.GetName())
	if winner.GetNamespace() != loser.GetNamespace() {
		name = "a " + kind.Kind + " of another namespace"
	}
	return verdict.Problem{
		Field:  field,
		Reason: string(gwapiv1.PolicyReasonConflicted),
		Message: fmt.Sprintf("%s already has %s, which is older and wins: target something else or delete one of the two",
			target, name),
		Weight: verdict.Conflicted,
	}
}

// Chain lists the places where a policy can be attached to affect a rule of a route on a listener, the most specific
// place first. The arguments are the rule, the listener and the places above it; a listener of a ListenerSet has its
// Gateway above it. The sections name the rule and the listener; a rule without a name has an empty one.
func Chain(places ...Target) []Target {
	chain := make([]Target, 0, 5)
	for _, t := range places {
		if t.Section != "" {
			chain = append(chain, t)
		}
		chain = append(chain, t.Whole())
	}
	return chain
}

// Effective returns the policies that take effect along a chain, the most specific one first. The first one found wins
// as a whole, and nothing is inherited from the others, unless it is merged: then it is followed by what would take
// effect without it. at returns the policy that is attached to a target, the zero value if there is none, and whether
// it is merged. A policy that is attached to several places of the chain counts once.
func Effective[P comparable](at func(Target) (p P, merges bool), chain []Target) []P {
	var none P
	var found []P
	for _, t := range chain {
		p, merges := at(t)
		if p == none || slices.Contains(found, p) {
			continue
		}
		if found = append(found, p); !merges {
			break
		}
	}
	return found
}

// ReasonOverridden is both type and reason of the condition of a policy that a more specific policy replaces at some
// targets.
const ReasonOverridden = "Overridden"

// maxNamed is how many targets a message names before it counts the rest.
const maxNamed = 8

// Overridden is the message of the condition that lists where more specific policies of the kind replace this one.
// Targets in other namespaces are counted, not named.
func Overridden(kind Kind, p Object, at []Target) string {
	return fmt.Sprintf("a more specific %s takes effect instead on %s", kind.Kind, listTargets(p, at))
}

// ReasonMerged is both type and reason of the condition of a policy that is merged with others.
const ReasonMerged = "Merged"

// Merging is the message of the condition that says with what a policy is merged: the names of the policies that it is
// merged over, the nearest first, and the targets of the policies that are merged over it. Targets in other namespaces
// are counted, not named.
func Merging(p Object, over []string, below []Target) string {
	var parts []string
	if len(over) > 0 {
		parts = append(parts, "merged over "+strings.Join(over, ", "))
	}
	if len(below) > 0 {
		parts = append(parts, "changed by more specific policies on "+listTargets(p, below))
	}
	return strings.Join(parts, "; ")
}

// listTargets lists targets for the users of a policy.
func listTargets(p Object, at []Target) string {
	var named []string
	for _, t := range at {
		if t.Namespace == p.GetNamespace() {
			named = append(named, t.String())
		}
	}
	slices.Sort(named)
	named = slices.Compact(named)
	named = named[:min(len(named), maxNamed)]
	rest := countTargets(at) - len(named)
	switch {
	case rest == 0:
	case len(named) == 0:
		return fmt.Sprintf("targets of other namespaces (%d)", rest)
	default:
		named = append(named, fmt.Sprintf("%d more", rest))
	}
	return strings.Join(named, ", ")
}

func countTargets(targets []Target) int {
	distinct := map[Target]bool{}
	for _, t := range targets {
		distinct[t] = true
	}
	return len(distinct)
}

func same(a, b metav1.Object) bool {
	return a.GetNamespace() == b.GetNamespace() && a.GetName() == b.GetName()
}
