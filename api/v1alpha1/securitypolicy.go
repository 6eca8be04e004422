package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// SecurityPolicy says who may send requests to the Gateways and routes that it attaches to: which web origins (CORS), whose
// pages may change something (csrf), which users (basicAuth), which clients (authorization), and what an authorization
// server lets through (extAuth).
//
// The most specific policy wins as a whole: one on a route rule over one on its route, over one on a listener, over
// one on the Gateway. With mergeType it changes the next less specific one instead. Among equals the oldest wins. A
// route whose policy is broken answers 500; it is never served without the policy.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=envoy-gateway,shortName=sp
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type SecurityPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the policy asks for.
	//
	// +required
	Spec SecurityPolicySpec `json:"spec"`

	// Status says for each affected Gateway and ListenerSet whether the policy was accepted, and why not.
	//
	// +optional
	Status gwapiv1.PolicyStatus `json:"status,omitempty"`
}

// SecurityPolicySpec is what a SecurityPolicy asks for.
//
// +kubebuilder:validation:XValidation:rule="has(self.targetRef) != has(self.targetRefs) || (has(self.targetSelectors) && size(self.targetSelectors) > 0)",message="a policy needs a target: set targetRefs or targetSelectors; targetRef and targetRefs exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.targetRef) || self.targetRef.kind in ['Gateway', 'ListenerSet', 'HTTPRoute', 'GRPCRoute', 'TCPRoute']",fieldPath=".targetRef.kind",messageExpression=`'a SecurityPolicy cannot target kind "' + self.targetRef.kind + '": write Gateway, ListenerSet, HTTPRoute, GRPCRoute or TCPRoute'`,message="a SecurityPolicy targets objects of kind Gateway, ListenerSet, HTTPRoute, GRPCRoute or TCPRoute"
// +kubebuilder:validation:XValidation:rule="!has(self.targetRefs) || self.targetRefs.all(r, r.kind in ['Gateway', 'ListenerSet', 'HTTPRoute', 'GRPCRoute', 'TCPRoute'])",fieldPath=".targetRefs",message="a SecurityPolicy targets objects of kind Gateway, ListenerSet, HTTPRoute, GRPCRoute or TCPRoute: change the kind of the entry that has another"
// +kubebuilder:validation:XValidation:rule="!has(self.mergeType) || ((!has(self.targetRef) || self.targetRef.kind.endsWith('Route')) && (!has(self.targetRefs) || self.targetRefs.all(r, r.kind.endsWith('Route'))) && (!has(self.targetSelectors) || self.targetSelectors.all(s, s.kind.endsWith('Route'))))",fieldPath=".mergeType",message="a policy with mergeType can only target routes: change the targets that are none, or remove mergeType"
type SecurityPolicySpec struct {
	PolicyTargetReferences `json:",inline"`
	Merging                `json:",inline"`

	// CORS answers preflight requests of browsers and says which web origins may read responses. A CORS filter in an
	// HTTPRoute wins.
	//
	// +optional
	CORS *CORS `json:"cors,omitempty"`

	// CSRF protects from requests that pages of other hosts make browsers send.
	//
	// +optional
	CSRF *CSRF `json:"csrf,omitempty"`

	// ExtAuth lets a server decide which requests are let through.
	//
	// +optional
	ExtAuth *ExtAuth `json:"extAuth,omitempty"`

	// BasicAuth lets requests through that have the name and password of a user.
	//
	// +optional
	BasicAuth *BasicAuth `json:"basicAuth,omitempty"`

	// Authorization allows or denies requests by their sender.
	//
	// +optional
	Authorization *Authorization `json:"authorization,omitempty"`

	// Unread lists the fields of the spec that are not read.
	Unread []UnreadField `json:"-"`
}

// UnmarshalJSON decodes the spec, and notes the fields that are not read.
func (s *SecurityPolicySpec) UnmarshalJSON(text []byte) (err error) {
	type spec SecurityPolicySpec // Without this method.
	s.Unread, err = decodeSpec(text, KindSecurityPolicy, (*spec)(s))
	s.keep(text)
	return err
}

// SecurityPolicyList is a list of SecurityPolicies.
//
// +kubebuilder:object:root=true
type SecurityPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SecurityPolicy `json:"items"`
}

// GetTargets returns the references and selectors of spec.
func (p *SecurityPolicy) GetTargets() *PolicyTargetReferences {
	return &p.Spec.PolicyTargetReferences
}

// GetMerging returns how the policy is merged.
func (p *SecurityPolicy) GetMerging() *Merging {
	return &p.Spec.Merging
}

// GetPolicyStatus returns the status.
func (p *SecurityPolicy) GetPolicyStatus() *gwapiv1.PolicyStatus {
	return &p.Status
}

// GetUnread returns the fields of spec that are not read.
func (p *SecurityPolicy) GetUnread() []UnreadField {
	return p.Spec.Unread
}
