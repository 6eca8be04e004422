package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AdmissionException excepts objects of its namespace from AdmissionRules until a date. It takes effect only for rules
// that allow exceptions. Whoever can write AdmissionExceptions in a namespace decides about these rules there.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=gatehouse
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`
// +kubebuilder:printcolumn:name="Effective",type=string,JSONPath=`.status.conditions[?(@.type=="Effective")].reason`
type AdmissionException struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which objects are excepted from which rules, why, and until when.
	//
	// +required
	Spec AdmissionExceptionSpec `json:"spec"`

	// Status says whether the exception is in effect, and why not.
	//
	// +optional
	Status AdmissionExceptionStatus `json:"status,omitempty"`
}

// AdmissionExceptionSpec says which objects are excepted from which rules, why, and until when.
type AdmissionExceptionSpec struct {
	// Rules are the names of AdmissionRules.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Rules []string `json:"rules"`

	// Targets are the objects that are excepted. They are in the namespace of the exception.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Targets []ExceptionTarget `json:"targets"`

	// Owner is the person or team to ask about the exception.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Owner string `json:"owner"`

	// Reason says why the exception is needed.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`

	// Expires is when the exception ends, such as 2030-01-31T00:00:00Z. Warnings begin 14 days before.
	//
	// +required
	Expires metav1.Time `json:"expires"`
}

// ExceptionTarget is one or more objects of a kind.
//
// +kubebuilder:validation:XValidation:rule="has(self.name) != has(self.selector)",fieldPath=".name",message="targets are found by a name or by a selector: write one of the two"
type ExceptionTarget struct {
	// Group is the API group of the kind.
	//
	// +optional
	// +kubebuilder:default="gateway.networking.k8s.io"
	Group string `json:"group,omitempty"`

	// Kind is the kind of the objects, such as HTTPRoute.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	Kind string `json:"kind"`

	// Name is the name of one object.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// Selector selects objects by their labels, as they are to be stored. An empty selector selects all.
	//
	// +optional
	Selector *LabelSelector `json:"selector,omitempty"`
}

// AdmissionExceptionStatus says whether an exception is in effect.
type AdmissionExceptionStatus struct {
	// Conditions has the condition Effective. It is False if the exception has expired, or if one of its rules does not
	// exist or allows no exceptions.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AdmissionExceptionList is a list of AdmissionExceptions.
//
// +kubebuilder:object:root=true
type AdmissionExceptionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AdmissionException `json:"items"`
}
