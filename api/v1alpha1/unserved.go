package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// UnservedPolicy is the part of a policy that is read if its kind is not served yet: its targets, so that nothing is
// served as if the policy did not exist. The cluster has the CRDs of such kinds if Envoy Gateway is or was installed.
// To serve a kind, give it its own spec.
type UnservedPolicy struct {
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the policy asks for.
	Spec UnservedPolicySpec `json:"spec"`

	// Status says for each affected Gateway and ListenerSet that the kind is not served.
	Status gwapiv1.PolicyStatus `json:"status,omitempty"`
}

// UnservedPolicySpec is the part of the spec that is read.
type UnservedPolicySpec struct {
	PolicyTargetReferences `json:",inline"`
}

// UnmarshalJSON decodes the targets. The rest of the spec does not matter, because none of it is served.
func (s *UnservedPolicySpec) UnmarshalJSON(text []byte) error {
	_, err := decodeSpec(text, "", &s.PolicyTargetReferences)
	return err
}

// GetTargets returns the references and selectors of spec.
func (p *UnservedPolicy) GetTargets() *PolicyTargetReferences { return &p.Spec.PolicyTargetReferences }

// GetUnread returns nothing: the kind as a whole is not served.
func (p *UnservedPolicy) GetUnread() []UnreadField { return nil }

// GetPolicyStatus returns the status.
func (p *UnservedPolicy) GetPolicyStatus() *gwapiv1.PolicyStatus { return &p.Status }

// EnvoyExtensionPolicy lets users' code process requests and responses: Wasm, Lua, external processors, dynamic
// modules.
//
// +kubebuilder:object:root=true
type EnvoyExtensionPolicy struct {
	metav1.TypeMeta `json:",inline"`
	UnservedPolicy  `json:",inline"`
}

// EnvoyExtensionPolicyList is a list of EnvoyExtensionPolicies.
//
// +kubebuilder:object:root=true
type EnvoyExtensionPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EnvoyExtensionPolicy `json:"items"`
}

// EnvoyPatchPolicy changes Envoy's configuration after the translation.
//
// +kubebuilder:object:root=true
type EnvoyPatchPolicy struct {
	metav1.TypeMeta `json:",inline"`
	UnservedPolicy  `json:",inline"`
}

// EnvoyPatchPolicyList is a list of EnvoyPatchPolicies.
//
// +kubebuilder:object:root=true
type EnvoyPatchPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EnvoyPatchPolicy `json:"items"`
}
