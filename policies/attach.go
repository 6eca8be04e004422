package policies

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	if kind.OfBackends() {
		return checkBackend(kind, field, group, target)
	}
	if group != gwapiv1.GroupName {
		return []verdict.Problem{feature.Invalid(field+".group", "group %q cannot be targeted: write %s", group,
			gwapiv1.GroupName)}
	}
	if slices.Contains(kind.Targets, target) {
		return nil
	}
	return []verdict.Problem{unservedTarget(field,
		"kind %q is not served as a target of a %s, so it has no effect there: write %s",
		target, kind.Kind, kind.writeTargets())}
}

// checkBackend is checkTarget for a policy on backends, whose kinds have several groups.
func checkBackend(kind Kind, field, group, target string) []verdict.Problem {
	named := slices.Contains(kind.Targets, target)
	if named && targetKindNamed(target).Group == group {
		return nil
	}
	effect := "so it has no effect there"
	if named && kind.Secures {
		effect = "and what may be meant is not reached"
	}
	return []verdict.Problem{unservedTarget(field, "%q of group %q is not served as a target of a %s, %s: write %s",
		target, group, kind.Kind, effect, kind.writeTargets())}
}

func unservedTarget(field, format string, args ...any) verdict.Problem {
	return verdict.Problem{
		Field: field + ".kind", Reason: string(gwapiv1.PolicyReasonTargetNotFound), Weight: verdict.Unresolved,
		Message: fmt.Sprintf(format, args...),
	}
}

// TargetNotFound is the problem of a policy that names a missing object.
func TargetNotFound(ref Reference) verdict.Problem {
	return verdict.Problem{
		Field:   ref.Field + ".name",
		Reason:  string(gwapiv1.PolicyReasonTargetNotFound),
		Message: fmt.Sprintf("no %s %q in namespace %q: create it or correct the name", ref.Kind, ref.Name, ref.Namespace),
		Weight:  verdict.Unresolved,
		Missing: &verdict.Ref{
			Group: targetKindNamed(ref.Kind).Group, Kind: ref.Kind, Namespace: ref.Namespace,
			Name: ref.Name,
		},
	}
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
		way = "write " + strings.Join(named, " or ")
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

// listed joins words to a list with "or" before the last one.
func listed(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
