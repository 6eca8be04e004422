package policies

import (
	"fmt"
	"slices"
	"strconv"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Reference is a target that a policy names.
type Reference struct {
	Target
	// Field is the path of the reference, such as spec.targetRefs[0].
	Field string
	// Problems are the problems of the reference itself. If there are any, the target must not be looked up.
	Problems []verdict.Problem
}

// References lists the targets that the policy names, each once. If targetRef is set, targetRefs is not read.
func References(kind Kind, p Object) []Reference {
	targets := p.GetTargets()
	if targets.TargetRef != nil {
		return []Reference{reference(kind, p.GetNamespace(), "spec.targetRef", *targets.TargetRef)}
	}
	return ReferencesIn(kind, p.GetNamespace(), targets.TargetRefs)
}

// ReferencesIn lists the targets in spec.targetRefs of a policy of the namespace, each once.
func ReferencesIn(kind Kind, namespace string, refs []gwapiv1.LocalPolicyTargetReferenceWithSectionName) []Reference {
	var references []Reference
	seen := map[Target]bool{}
	for i, ref := range refs {
		r := reference(kind, namespace, fmt.Sprintf("spec.targetRefs[%d]", i), ref)
		if len(r.Problems) == 0 && seen[r.Target] {
			continue // A target that is named twice counts once.
		}
		seen[r.Target] = seen[r.Target] || len(r.Problems) == 0
		references = append(references, r)
	}
	return references
}

func reference(kind Kind, namespace, field string, ref gwapiv1.LocalPolicyTargetReferenceWithSectionName) Reference {
	r := Reference{Target: Target{Kind: string(ref.Kind), Namespace: namespace, Name: string(ref.Name)}, Field: field}
	if ref.SectionName != nil {
		r.Section = string(*ref.SectionName)
	}
	if ref.Name == "" {
		r.Problems = append(r.Problems, feature.Invalid(field+".name", "the name is empty: write the name of the %s",
			ref.Kind))
	}
	r.Problems = append(r.Problems, checkTarget(kind, field, string(ref.Group), r.Kind)...)
	return r
}

// checkTarget reports a group or kind that the kind of policy cannot target.
func checkTarget(kind Kind, field, group, target string) []verdict.Problem {
	named := slices.Contains(kind.Targets, target)
	if named && targetKindNamed(target).Group == group {
		return nil
	}
	if group != gwapiv1.GroupName && !kind.OfBackends() {
		return []verdict.Problem{feature.Invalid(field+".group", "group %q cannot be targeted: write %s", group,
			gwapiv1.GroupName)}
	}
	effect := "so it has no effect there"
	if named && kind.Secures {
		effect = "and what may be meant is not reached"
	}
	problem := verdict.WrongKind(group, target, "be a target of a "+kind.Kind+", "+effect, "write "+kind.writeTargets())
	problem.Field, problem.Reason = field+".kind", string(gwapiv1.PolicyReasonTargetNotFound)
	return []verdict.Problem{problem}
}

// TargetNotFound is the problem of a policy that names a missing object.
func TargetNotFound(ref Reference) verdict.Problem {
	to := verdict.Ref{
		Group: targetKindNamed(ref.Kind).Group, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name,
	}
	return verdict.Absent(ref.Field+".name", to, string(gwapiv1.PolicyReasonTargetNotFound))
}

// SectionNotFound is the problem of a policy of the kind that names a section that its target does not have. have lists
// the names of the existing sections; it may contain empty strings for unnamed ones.
func SectionNotFound(kind Kind, ref Reference, have []string) verdict.Problem {
	target := targetKindNamed(ref.Kind)
	var named []string
	for _, name := range have {
		if name != "" {
			named = append(named, strconv.Quote(name))
		}
	}
	way := fmt.Sprintf("name a %s so", target.Section)
	if len(named) > 0 {
		way = "write " + verdict.Or(named)
	}
	message := fmt.Sprintf("%s %q has no %s %q: %s, or leave sectionName out for the whole %s", ref.Kind, ref.Name,
		target.Section, ref.Section, way, ref.Kind)
	if target.Note != "" {
		message += "; " + target.Note
	}
	if kind.Secures {
		message += "; until then, ports without a policy of their own are not reached"
	}
	return verdict.Problem{
		Field: ref.Field + ".sectionName", Reason: string(gwapiv1.PolicyReasonTargetNotFound), Weight: verdict.Unresolved,
		Message: message,
	}
}
