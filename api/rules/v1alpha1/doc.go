// Package v1alpha1 has the kinds of API group gatehouse.dev, version v1alpha1: the rules of a platform for the objects
// that Gatehouse admits (AdmissionRule), and the exceptions from them (AdmissionException).
//
// The fields that a ValidatingAdmissionPolicy of Kubernetes has too have its names and its meaning.
//
// +kubebuilder:object:generate=true
// +groupName=gatehouse.dev
package v1alpha1
