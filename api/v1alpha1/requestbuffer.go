package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// RequestBuffer has Envoy receive the whole body of a request before it forwards the request.
type RequestBuffer struct {
	// Limit is how many bytes a body may have. A request with a larger one is answered 413.
	//
	// +required
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	Limit resource.Quantity `json:"limit"`
}
