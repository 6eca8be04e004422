// Package policies defines the policies and their meaning for Envoy: the one ordered list of features, the one table of
// policy kinds, and how policies attach to Gateways and routes.
//
// Everything here is a pure function of its arguments. A caller loops over Kinds and never asks which kind an object
// has.
package policies

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// SpecField is the field in which every kind of policy has its spec.
const SpecField = "spec"

// Object is a policy of any kind.
type Object = v1alpha1.Policy

// Kind is a kind of policy. Its methods take policies of that kind only, and panic on another.
type Kind struct {
	// Kind is the name of the kind, such as BackendTrafficPolicy.
	Kind string
	// Targets are the kinds that it can target and that are served.
	Targets []string
	// New makes an empty policy, to decode into.
	New func() Object
	// Unserved tells that nothing of the kind is served yet: what its policies cover is not served either.
	Unserved bool
	// Dormant tells that policies of the kind have no effect unless the operator enables it.
	Dormant bool
}

// Kinds is every kind of policy.
var Kinds = []Kind{
	{
		Kind:    "BackendTrafficPolicy",
		Targets: []string{"Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"},
		New:     func() Object { return &v1alpha1.BackendTrafficPolicy{} },
	},
	{
		Kind:    "SecurityPolicy",
		Targets: []string{"Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TCPRoute"},
		New:     func() Object { return &v1alpha1.SecurityPolicy{} },
	},
	{
		Kind:    v1alpha1.KindClientTrafficPolicy,
		Targets: []string{"Gateway", "ListenerSet"},
		New:     func() Object { return &v1alpha1.ClientTrafficPolicy{} },
	},
	{
		Kind:     v1alpha1.KindEnvoyExtensionPolicy,
		Targets:  []string{"Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"},
		New:      func() Object { return &v1alpha1.EnvoyExtensionPolicy{} },
		Unserved: true,
	},
	{
		Kind:     v1alpha1.KindEnvoyPatchPolicy,
		Targets:  []string{"Gateway"},
		New:      func() Object { return &v1alpha1.EnvoyPatchPolicy{} },
		Unserved: true,
		Dormant:  true,
	},
}

// reasonDisabled is the reason of condition Accepted of a policy whose kind is switched off, as Envoy Gateway has it.
const reasonDisabled = "Disabled"

// Disabled is the problem of a policy of a dormant kind that is not enabled. It does no harm to what the policy is
// about.
func (k Kind) Disabled() verdict.Problem {
	return verdict.Problem{
		Field: "spec", Reason: reasonDisabled, Weight: verdict.Unresolved,
		Message: fmt.Sprintf("kind %s is switched off and not served yet, so the object has no effect: delete it", k.Kind),
	}
}

// Check finds what is wrong with the spec, its targets apart: References and Selectors tell of those.
func (k Kind) Check(p Object) []verdict.Problem {
	if k.Unserved {
		return []verdict.Problem{feature.Invalid("spec",
			"kind %s is not served yet, so nothing that the policy covers is served: delete it if what it asks for is not needed", k.Kind)}
	}
	problems := k.CheckWritten(p)
	for f := range k.features {
		problems = append(problems, f.check(p)...)
	}
	for _, need := range k.Needs(p) {
		if need.Backend != nil && need.Backend.Settings != nil {
			problems = append(problems, verdict.At(SpecField+"."+need.Backend.SettingsField, checkSettings(need.Backend.Settings))...)
		}
	}
	return problems
}

// OfSettings returns a BackendTrafficPolicy with the settings, and its kind: settings mean the same wherever they stand.
func OfSettings(s *v1alpha1.ClusterSettings) (Kind, Object) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Kind == v1alpha1.KindBackendTrafficPolicy })
	return Kinds[i], &v1alpha1.BackendTrafficPolicy{Spec: v1alpha1.BackendTrafficPolicySpec{ClusterSettings: *s}}
}

// checkSettings finds what is wrong with settings. Fields are relative to them.
func checkSettings(s *v1alpha1.ClusterSettings) []verdict.Problem {
	kind, policy := OfSettings(s)
	problems := kind.Check(policy)
	for i := range problems {
		problems[i].Field = strings.TrimPrefix(problems[i].Field, SpecField+".")
	}
	return problems
}

// CheckWritten is the part of Check that is about the policy as it is written. No merge with other policies can change
// the result.
func (k Kind) CheckWritten(p Object) []verdict.Problem {
	return append(feature.Unread(p.GetUnread(), "nothing that the policy covers is served"), k.checkMerging(p)...)
}
