package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MatchConstraints says which requests a rule is about: those that one of resourceRules matches and none of
// excludeResourceRules, for objects and namespaces that the selectors match.
type MatchConstraints struct {
	// ResourceRules are the requests that the rule is about.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	ResourceRules []ResourceRule `json:"resourceRules"`

	// ExcludeResourceRules are exceptions from resourceRules.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	ExcludeResourceRules []ResourceRule `json:"excludeResourceRules,omitempty"`

	// NamespaceSelector selects namespaces by their labels. Objects without a namespace are always matched. Everybody
	// who can label a namespace decides by this whether the rule applies there; the label kubernetes.io/metadata.name
	// is set by the API server and cannot be changed. Default: all.
	//
	// +optional
	NamespaceSelector *LabelSelector `json:"namespaceSelector,omitempty"`

	// ObjectSelector selects objects by their labels. A request matches if it selects the new or the old object.
	// Everybody who can write the object decides by this whether the rule applies. Default: all.
	//
	// +optional
	ObjectSelector *LabelSelector `json:"objectSelector,omitempty"`

	// MatchPolicy Exact matches requests that were made in one of the versions of resourceRules only. Equivalent also
	// matches requests in other versions, which the API server converts. Default: Equivalent.
	//
	// +optional
	// +kubebuilder:validation:Enum=Exact;Equivalent
	MatchPolicy string `json:"matchPolicy,omitempty"`
}

// The values of matchPolicy.
const (
	MatchExact      = "Exact"
	MatchEquivalent = "Equivalent"
)

// ResourceRule matches requests that match each of its fields.
type ResourceRule struct {
	// APIGroups are groups of kinds that Gatehouse admits, such as gateway.networking.k8s.io.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	APIGroups []string `json:"apiGroups"`

	// APIVersions are the versions; "*" matches all. Kinds are judged in one version each, such as v1.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	APIVersions []string `json:"apiVersions"`

	// Resources are the kinds by the names of their resources, such as httproutes; "*" matches all kinds of the groups
	// that Gatehouse admits.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Resources []string `json:"resources"`

	// Operations are CREATE, UPDATE, or "*" for both. Deletions are never denied, so rules are not evaluated for them.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	Operations []Operation `json:"operations"`

	// ResourceNames are names of objects. Default: all.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	ResourceNames []string `json:"resourceNames,omitempty"`

	// Scope is Namespaced for objects with a namespace, Cluster for those without, and "*" for both. Default: "*".
	//
	// +optional
	// +kubebuilder:validation:Enum=Namespaced;Cluster;*
	Scope string `json:"scope,omitempty"`
}

// The scopes of objects.
const (
	ScopeNamespaced = "Namespaced"
	ScopeCluster    = "Cluster"
)

// Operation is an operation of a request.
//
// +kubebuilder:validation:Enum=CREATE;UPDATE;*
type Operation string

// LabelSelector selects by labels, as selectors of Kubernetes do. All requirements must be met.
type LabelSelector struct {
	// MatchLabels are labels with their values.
	//
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`

	// MatchExpressions are requirements for the values of labels.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	MatchExpressions []LabelRequirement `json:"matchExpressions,omitempty"`
}

// LabelRequirement is a requirement for the value of a label.
type LabelRequirement struct {
	// Key is the name of the label.
	//
	// +required
	Key string `json:"key"`

	// Operator is In, NotIn, Exists or DoesNotExist.
	//
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator"`

	// Values are for In and NotIn.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Values []string `json:"values,omitempty"`
}
