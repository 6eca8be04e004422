package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Policy is the common part of all policy kinds of this package: the objects that it attaches to, and the Gateway API
// policy status (GEP-713) with one entry for each affected ancestor. The methods return the policy's own memory, not a
// copy.
//
// +kubebuilder:object:generate=false
type Policy interface {
	metav1.Object
	runtime.Object
	// GetTargets returns the references and selectors of spec.
	GetTargets() *PolicyTargetReferences
	// GetUnread returns the fields of spec that are not read.
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
