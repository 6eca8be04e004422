package v1alpha1

// Authorization allows or denies requests. The first rule that matches decides; when none does, defaultAction does.
// A denied request is answered 403.
type Authorization struct {
	// Rules are tried in order.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=64
	Rules []AuthorizationRule `json:"rules,omitempty"`

	// DefaultAction decides about requests that no rule matches. Default: Deny.
	//
	// +optional
	DefaultAction *AuthorizationAction `json:"defaultAction,omitempty"`
}

// AuthorizationRule decides about the requests of a principal.
type AuthorizationRule struct {
	// Name appears in Envoy's logs and statistics. Default: built from the policy's name and the rule's index.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name *string `json:"name,omitempty"`

	// Action is what happens to the requests that the rule matches.
	//
	// +required
	Action AuthorizationAction `json:"action"`

	// Principal is whose requests the rule matches. A rule needs a principal. Admission checks this instead of the
	// schema, because it can also name fields that are not served.
	//
	// +optional
	Principal *Principal `json:"principal,omitempty"`
}

// Principal is who sends a request. All that is set must match.
type Principal struct {
	// ClientCIDRs matches when the client's address is in one of these ranges, such as 10.0.0.0/8 or 2001:db8::/32.
	// They are required, because principals of other kinds are not served yet.
	//
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8192
	ClientCIDRs []CIDR `json:"clientCIDRs,omitempty"`
}

// CIDR is a range of IPv4 or IPv6 addresses: an address, a slash and a prefix length (RFC 4632, RFC 4291).
type CIDR string

// AuthorizationAction is what happens to a request.
//
// +kubebuilder:validation:Enum=Allow;Deny
type AuthorizationAction string

// What can happen to a request.
const (
	AuthorizationActionAllow AuthorizationAction = "Allow"
	AuthorizationActionDeny  AuthorizationAction = "Deny"
)
