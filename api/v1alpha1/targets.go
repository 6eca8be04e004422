package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// PolicyTargetReferences says which objects a policy attaches to: by name (targetRefs, or the older targetRef), or by
// label (targetSelectors).
type PolicyTargetReferences struct {
	// TargetRef names one object in the policy's namespace. When it is set, targetRefs is not read.
	//
	// Deprecated: write targetRefs, which holds any number of references.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.group == 'gateway.networking.k8s.io'",fieldPath=".group",messageExpression=`'group "' + self.group + '" cannot be targeted: write gateway.networking.k8s.io'`,message="the group must be gateway.networking.k8s.io"
	TargetRef *gwapiv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRef,omitempty"`

	// TargetRefs names the objects that the policy attaches to, all in the policy's own namespace. A sectionName narrows
	// an entry to one listener of a Gateway or ListenerSet, or to one named rule of a route.
	//
	// +optional
	// +kubebuilder:validation:items:XValidation:rule="self.group == 'gateway.networking.k8s.io'",fieldPath=".group",messageExpression=`'group "' + self.group + '" cannot be targeted: write gateway.networking.k8s.io'`,message="the group must be gateway.networking.k8s.io"
	// +kubebuilder:validation:MaxItems=256
	TargetRefs []gwapiv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs,omitempty"`

	// TargetSelectors attaches the policy to every object that one of the selectors matches. A selector always means
	// whole objects, never a section of one.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=64
	TargetSelectors []TargetSelector `json:"targetSelectors,omitempty"`
}

// TargetSelector matches objects of one kind by their labels.
//
// +kubebuilder:validation:XValidation:rule="!has(self.group) || self.group == 'gateway.networking.k8s.io'",fieldPath=".group",messageExpression=`'group "' + self.group + '" cannot be selected: write gateway.networking.k8s.io'`,message="the group must be gateway.networking.k8s.io"
type TargetSelector struct {
	// Group is the API group of the selected kind. Only gateway.networking.k8s.io is allowed.
	//
	// +optional
	// +kubebuilder:default="gateway.networking.k8s.io"
	Group *gwapiv1.Group `json:"group,omitempty"`

	// Kind is the selected kind, such as HTTPRoute.
	//
	// +required
	Kind gwapiv1.Kind `json:"kind"`

	// Namespaces says in which namespaces objects are selected. Objects outside the policy's namespace are selected
	// only if a ReferenceGrant in their namespace allows it: from group gateway.envoyproxy.io, the policy's kind and
	// the policy's namespace, to the group and kind of the object.
	//
	// +optional
	Namespaces *TargetSelectorNamespaces `json:"namespaces,omitempty"`

	// MatchLabels lists labels with values; an object must have all of them.
	//
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`

	// MatchExpressions lists label requirements; an object must meet all of them, and matchLabels too.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	MatchExpressions []metav1.LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}

// TargetSelectorNamespaces chooses the namespaces of a TargetSelector.
//
// +kubebuilder:validation:XValidation:rule="self.from != 'Selector' || has(self.selector)",fieldPath=".selector",message="from is Selector, so selector must say which namespaces: add it, or write from: Same or from: All"
type TargetSelectorNamespaces struct {
	// From is Same (the policy's own namespace), All (every namespace) or Selector (the namespaces that selector
	// matches).
	//
	// +optional
	// +kubebuilder:default=Same
	From TargetNamespaces `json:"from,omitempty"`

	// Selector matches the labels of namespaces. It is read only when from is Selector.
	//
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// TargetNamespaces says in which namespaces a TargetSelector selects objects.
//
// +kubebuilder:validation:Enum=Same;All;Selector
type TargetNamespaces string

// The namespaces in which a TargetSelector can select objects.
const (
	TargetNamespacesSame     TargetNamespaces = "Same"
	TargetNamespacesAll      TargetNamespaces = "All"
	TargetNamespacesSelector TargetNamespaces = "Selector"
)
