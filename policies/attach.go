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

// Target is an object that a policy attaches to: an object of Gateway API's group or a backend, or one section of it.
// It is comparable and serves as a key.
type Target struct {
	Kind, Namespace, Name string
	// Section is the name of a listener of a Gateway or ListenerSet, of a route's rule or of a Service's port, or the
	// number of the port that all endpoints of a Backend have; empty means the whole object.
	Section string
}

// String names the target in messages.
func (t Target) String() string {
	whole := fmt.Sprintf("%s %q", t.Kind, t.Namespace+"/"+t.Name)
	if t.Section == "" {
		return whole
	}
	return fmt.Sprintf("%s %q of %s", sectionWord(t.Kind), t.Section, whole)
}

// Whole is the target without its section.
func (t Target) Whole() Target {
	t.Section = ""
	return t
}

// Reference is a target that a policy names.
type Reference struct {
	Target
	// Field is the path of the reference, such as spec.targetRefs[0].
	Field string
	// Problems are the problems of the reference itself. If there are any, the target must not be looked up.
	Problems []verdict.Problem
}

// sections has the name of a section for each target kind. A kind that is missing here has no sections.
var sections = map[string]string{
	"Backend":       "port",
	"Gateway":       "listener",
	"ListenerSet":   "listener",
	"HTTPRoute":     "rule",
	"GRPCRoute":     "rule",
	"Service":       "port",
	"ServiceImport": "port",
	"TLSRoute":      "rule",
	"TCPRoute":      "rule",
	"UDPRoute":      "rule",
}

func sectionWord(kind string) string {
	if word, ok := sections[kind]; ok {
		return word
	}
	return "section"
}

// References lists the targets that the policy names, each once. If targetRef is set, targetRefs is not read.
func References(kind Kind, p Object) []Reference {
	targets := p.GetTargets()
	if targets.TargetRef != nil {
		return []Reference{reference(kind, p, "spec.targetRef", *targets.TargetRef)}
	}
	var references []Reference
	seen := map[Target]bool{}
	for i, ref := range targets.TargetRefs {
		r := reference(kind, p, fmt.Sprintf("spec.targetRefs[%d]", i), ref)
		if len(r.Problems) == 0 && seen[r.Target] {
			continue // A target that is named twice counts once.
		}
		seen[r.Target] = true
		references = append(references, r)
	}
	return references
}

func reference(kind Kind, p Object, field string, ref gwapiv1.LocalPolicyTargetReferenceWithSectionName) Reference {
	r := Reference{
		Target: Target{Kind: string(ref.Kind), Namespace: p.GetNamespace(), Name: string(ref.Name)},
		Field:  field,
	}
	if ref.SectionName != nil {
		r.Section = string(*ref.SectionName)
	}
	if ref.Name == "" {
		r.Problems = append(r.Problems, feature.Invalid(field+".name", "the name is empty: write the name of the %s", ref.Kind))
	}
	r.Problems = append(r.Problems, checkTarget(kind, field, string(ref.Group), r.Kind)...)
	return r
}

// checkTarget reports a group or kind that the kind of policy cannot target.
func checkTarget(kind Kind, field, group, target string) []verdict.Problem {
	if group != gwapiv1.GroupName {
		return []verdict.Problem{feature.Invalid(field+".group", "group %q cannot be targeted: write %s", group, gwapiv1.GroupName)}
	}
	if slices.Contains(kind.Targets, target) {
		return nil
	}
	return []verdict.Problem{{
		Field:  field + ".kind",
		Reason: string(gwapiv1.PolicyReasonTargetNotFound),
		Message: fmt.Sprintf("kind %q is not served as a target of a %s, so it has no effect there: write %s",
			target, kind.Kind, listed(kind.Targets)),
		Weight: verdict.Unresolved,
	}}
}

// TargetNotFound is the problem of a policy that names a missing object.
func TargetNotFound(ref Reference) verdict.Problem {
	return verdict.Problem{
		Field:   ref.Field + ".name",
		Reason:  string(gwapiv1.PolicyReasonTargetNotFound),
		Message: fmt.Sprintf("no %s %q in namespace %q: create it or correct the name", ref.Kind, ref.Name, ref.Namespace),
		Weight:  verdict.Unresolved,
		Missing: &verdict.Ref{Group: gwapiv1.GroupName, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name},
	}
}

// SectionNotFound is the problem of a policy that names a section that its target does not have. have lists the names
// of the existing sections; it may contain empty strings for unnamed ones.
func SectionNotFound(ref Reference, have []string) verdict.Problem {
	word := sectionWord(ref.Kind)
	var named []string
	for _, name := range have {
		if name != "" {
			named = append(named, strconv.Quote(name))
		}
	}
	way := fmt.Sprintf("name a %s so", word)
	if len(named) > 0 {
		way = "write " + strings.Join(named, " or ")
	}
	return verdict.Problem{
		Field:  ref.Field + ".sectionName",
		Reason: string(gwapiv1.PolicyReasonTargetNotFound),
		Message: fmt.Sprintf("%s %q has no %s %q: %s, or leave sectionName out for the whole %s",
			ref.Kind, ref.Name, word, ref.Section, way, ref.Kind),
		Weight: verdict.Unresolved,
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
