package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// BasicAuth lets requests through whose Authorization header has the name and password of a user (RFC 7617). All others
// are answered 401.
type BasicAuth struct {
	// Users refers to a Secret that has the users under key .htpasswd: a line for each of them, of the form
	// name:{SHA}hash, as "htpasswd -s" writes it. Other hashes are not supported. A Secret of another namespace needs a
	// ReferenceGrant.
	//
	// +required
	Users gwapiv1.SecretObjectReference `json:"users"`

	// ForwardUsernameHeader is the header in which the backend gets the name of the user. A header of that name that the
	// client sends is replaced. Without it the backend gets no such header.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	ForwardUsernameHeader *string `json:"forwardUsernameHeader,omitempty"`
}
