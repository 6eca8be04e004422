package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// BackendRef refers to a backend that Envoy itself sends requests to.
type BackendRef struct {
	gwapiv1.BackendObjectReference `json:",inline"`

	// Weight is the share of the requests that the backend gets, in proportion to the sum of all weights. Default: 1.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Weight *int32 `json:"weight,omitempty"`

	// Fallback says whether the backend gets requests only when no other one has a usable endpoint. Its weight then
	// counts among the fallbacks. If all backends are fallbacks, they are normal backends.
	//
	// +optional
	Fallback *bool `json:"fallback,omitempty"`
}

// BackendCluster is one or more backends that Envoy itself sends requests to, and how it talks to them.
type BackendCluster struct {
	// BackendRef refers to the backend. It is the older form of a single entry in backendRefs, which replaces it.
	//
	// +optional
	BackendRef *gwapiv1.BackendObjectReference `json:"backendRef,omitempty"`

	// BackendRefs refers to Services, ServiceImports or Backends, which share the requests by their weights. A backend of
	// another namespace needs a ReferenceGrant. If some of the backends cannot be used, their share of the requests fails.
	// All of them are one cluster of Envoy, so they have one protocol, and all or none of them have DNS names.
	//
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	BackendRefs []BackendRef `json:"backendRefs,omitempty"`

	// BackendSettings is how Envoy talks to the backends. What is about requests of routes, such as requestTimeout, has no
	// effect here.
	//
	// +optional
	BackendSettings *ClusterSettings `json:"backendSettings,omitempty"`
}
