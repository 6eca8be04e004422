package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Policy is what every policy kind of this package has: the objects that it attaches to, and the Gateway API policy
// status (GEP-713) with one entry for each ancestor that it affects. The methods return the policy's own memory, not a copy.
//
// +kubebuilder:object:generate=false
type Policy interface {
	metav1.Object
	runtime.Object
	// GetTargets returns the references and selectors of spec.
	GetTargets() *PolicyTargetReferences
	// GetUnread returns what of spec nobody reads.
	GetUnread() []UnreadField
	// GetPolicyStatus returns the status.
	GetPolicyStatus() *gwapiv1.PolicyStatus
}

var (
	_ Policy = (*BackendTrafficPolicy)(nil)
	_ Policy = (*SecurityPolicy)(nil)
	_ Policy = (*ClientTrafficPolicy)(nil)
	_ Policy = (*EnvoyExtensionPolicy)(nil)
	_ Policy = (*EnvoyPatchPolicy)(nil)
)
