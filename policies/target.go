package policies

import (
	"fmt"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// Target is an object that a policy attaches to, of a kind in TargetKinds, or one section of it. It is comparable and
// serves as a key.
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
	return fmt.Sprintf("%s %q of %s", targetKindNamed(t.Kind).Section, t.Section, whole)
}

// Whole is the target without its section.
func (t Target) Whole() Target {
	t.Section = ""
	return t
}

// TargetKind is a kind of object that policies can attach to.
type TargetKind struct {
	// Group and Kind name it. No two have the same Kind.
	Group, Kind string
	// Section is what its sections are called, such as listener.
	Section string
	// Note is what a user must know of its sections. It may be empty.
	Note string
}

// The sections of objects that policies can attach to.
const (
	sectionListener = "listener"
	sectionRule     = "rule"
	sectionPort     = "port"
)

// TargetKinds is every kind of object that policies can attach to. Which policy can attach to which of them is said in
// Kinds, BackendTLS and RetryBudget, and nowhere else: the rules of the CRDs are compared with it by a test.
var TargetKinds = []TargetKind{
	{Group: gwapiv1.GroupName, Kind: "Gateway", Section: sectionListener},
	{Group: gwapiv1.GroupName, Kind: "ListenerSet", Section: sectionListener},
	{Group: gwapiv1.GroupName, Kind: "HTTPRoute", Section: sectionRule},
	{Group: gwapiv1.GroupName, Kind: "GRPCRoute", Section: sectionRule},
	{Group: gwapiv1.GroupName, Kind: "TLSRoute", Section: sectionRule},
	{Group: gwapiv1.GroupName, Kind: "TCPRoute", Section: sectionRule},
	{Group: gwapiv1.GroupName, Kind: "UDPRoute", Section: sectionRule},
	{Kind: "Service", Section: sectionPort},
	{Group: mcsv1alpha1.GroupName, Kind: "ServiceImport", Section: sectionPort},
	{
		Group: v1alpha1.GroupName, Kind: v1alpha1.KindBackend, Section: sectionPort,
		Note: "the ports of a Backend are numbers, and all its endpoints have to have the one that is named",
	},
}

// Lists of targets that several kinds of policies share.
var (
	gateways  = []string{"Gateway", "ListenerSet"}
	allRoutes = []string{"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"}
	backends  = []string{"Service", "ServiceImport", v1alpha1.KindBackend}
)

// targetKindNamed returns the kind of that name. One that cannot be targeted has an empty group.
func targetKindNamed(kind string) TargetKind {
	i := slices.IndexFunc(TargetKinds, func(k TargetKind) bool { return k.Kind == kind })
	if i < 0 {
		return TargetKind{Kind: kind, Section: "section"}
	}
	return TargetKinds[i]
}

// TargetKinds returns the kinds that policies of the kind can attach to.
func (k Kind) TargetKinds() []TargetKind {
	kinds := make([]TargetKind, len(k.Targets))
	for i, name := range k.Targets {
		kinds[i] = targetKindNamed(name)
	}
	return kinds
}

// OfBackends reports whether the policies attach to backends.
func (k Kind) OfBackends() bool { return targetKindNamed(k.Targets[0]).Section == sectionPort }

// writeTargets says how to name the targets of a kind of policy, in words that fit behind "write ".
func (k Kind) writeTargets() string {
	if !k.OfBackends() {
		return verdict.Or(k.Targets) // All have one group.
	}
	var words []string
	for _, target := range k.TargetKinds() {
		if target.Group == "" {
			words = append(words, target.Kind+" with an empty group")
		} else {
			words = append(words, target.Kind+" of group "+target.Group)
		}
	}
	return verdict.Or(words)
}
