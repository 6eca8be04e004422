// Package policies defines the policies and their meaning for Envoy: the one ordered list of features, the one table of
// policy kinds, and how policies attach to Gateways and routes.
//
// Everything here is a pure function of its arguments. A caller loops over Kinds and never asks which kind an object
// has. Policies on backends (BackendTLS, RetryBudget) only attach by what is here; their meaning is in packages of
// their own.
package policies

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/feature"
	"gatehouse/policies/retrybudget"
	"gatehouse/policies/verdict"
)

// SpecField is the field in which every kind of policy has its spec.
const SpecField = "spec"

// Object is a policy of any kind.
type Object = v1alpha1.Policy

// Kind is a kind of policy. Its methods take policies of that kind only, and panic on another.
type Kind struct {
	// Group and Kind name the kind, such as BackendTrafficPolicy of group gateway.envoyproxy.io.
	Group, Kind string
	// Targets are the names of the kinds that it can target and that are served; TargetKinds has all of them.
	Targets []string
	// Secures reports whether the policies say how backends are verified. A backend that such a policy may be meant for,
	// and to which it cannot attach, gets no requests.
	Secures bool
	// New makes an empty policy, to decode into.
	New func() Object
	// Unserved reports whether nothing of the kind is served yet. What its policies cover is not served either.
	Unserved bool
	// Dormant reports whether policies of the kind have no effect unless the operator enables it.
	Dormant bool
}

// Kinds is every kind of policy on Gateways and routes.
var Kinds = []Kind{
	{
		Group:   v1alpha1.GroupName,
		Kind:    v1alpha1.KindBackendTrafficPolicy,
		Targets: slices.Concat(gateways, allRoutes),
		New:     func() Object { return &v1alpha1.BackendTrafficPolicy{} },
	},
	{
		Group:   v1alpha1.GroupName,
		Kind:    v1alpha1.KindSecurityPolicy,
		Targets: slices.Concat(gateways, []string{"HTTPRoute", "GRPCRoute", "TCPRoute"}),
		New:     func() Object { return &v1alpha1.SecurityPolicy{} },
	},
	{
		Group:   v1alpha1.GroupName,
		Kind:    v1alpha1.KindClientTrafficPolicy,
		Targets: gateways,
		New:     func() Object { return &v1alpha1.ClientTrafficPolicy{} },
	},
	{
		Group:    v1alpha1.GroupName,
		Kind:     v1alpha1.KindEnvoyExtensionPolicy,
		Targets:  slices.Concat(gateways, allRoutes),
		New:      func() Object { return &v1alpha1.EnvoyExtensionPolicy{} },
		Unserved: true,
	},
	{
		Group:    v1alpha1.GroupName,
		Kind:     v1alpha1.KindEnvoyPatchPolicy,
		Targets:  []string{"Gateway"},
		New:      func() Object { return &v1alpha1.EnvoyPatchPolicy{} },
		Unserved: true,
		Dormant:  true,
	},
}

// BackendTLS and RetryBudget are the kinds of policies on backends, of Gateway API. They attach as those in Kinds do.
var (
	BackendTLS  = Kind{Group: gwapiv1.GroupName, Kind: backendtls.Kind, Targets: backends, Secures: true}
	RetryBudget = Kind{Group: retrybudget.Group, Kind: retrybudget.Kind, Targets: backends}
)

// Ref returns the reference to a policy of the kind.
func (k Kind) Ref(p metav1.Object) verdict.Ref {
	return verdict.Ref{Group: k.Group, Kind: k.Kind, Namespace: p.GetNamespace(), Name: p.GetName()}
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
	problems = append(problems, k.checkSettings(p)...)
	if !verdict.Has(problems, verdict.Invalid) {
		problems = append(problems, k.checkForwarded(p)...)
	}
	return problems
}

// CheckWritten is the part of Check that is about the policy as it is written. No merge with other policies can change
// the result.
func (k Kind) CheckWritten(p Object) []verdict.Problem {
	return append(feature.Unread(p.GetUnread(), "nothing that the policy covers is served"), k.checkMerging(p)...)
}
