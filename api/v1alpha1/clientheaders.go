package v1alpha1

// HeaderSettings says how headers of requests are read.
type HeaderSettings struct {
	// WithUnderscoresAction says what happens to a request with a header whose name has an underscore. Some backends
	// take such a name for the same name with a hyphen, so that it could stand for a header that Envoy checks. Default:
	// RejectRequest.
	//
	// +optional
	WithUnderscoresAction *WithUnderscoresAction `json:"withUnderscoresAction,omitempty"`
}

// WithUnderscoresAction is what happens to a request with a header whose name has an underscore. Allow passes the header
// on. RejectRequest answers 400, or resets the stream of HTTP/2. DropHeader removes the header.
//
// +kubebuilder:validation:Enum=Allow;RejectRequest;DropHeader
type WithUnderscoresAction string

// The actions for headers with underscores.
const (
	WithUnderscoresActionAllow         WithUnderscoresAction = "Allow"
	WithUnderscoresActionRejectRequest WithUnderscoresAction = "RejectRequest"
	WithUnderscoresActionDropHeader    WithUnderscoresAction = "DropHeader"
)
