package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// BackendRef refers to a backend that Envoy itself sends requests to.
type BackendRef struct {
	gwapiv1.BackendObjectReference `json:",inline"`
}

// BackendCluster is a backend that Envoy itself sends requests to, and how it talks to it.
type BackendCluster struct {
	// BackendRef refers to the backend. It is the older form of a single entry in backendRefs, which replaces it.
	//
	// +optional
	BackendRef *gwapiv1.BackendObjectReference `json:"backendRef,omitempty"`

	// BackendRefs refers to a Service, a ServiceImport or a Backend. It has one entry; several are not served yet. A backend
	// of another namespace needs a ReferenceGrant.
	//
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	BackendRefs []BackendRef `json:"backendRefs,omitempty"`

	// BackendSettings is how Envoy talks to the backend.
	//
	// +optional
	BackendSettings *ClusterSettings `json:"backendSettings,omitempty"`
}
