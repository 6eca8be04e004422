package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// HeaderSettings says how headers of requests are read, and which ones are changed.
//
// +kubebuilder:validation:AtMostOneOf=preserveXRequestID;requestID
type HeaderSettings struct {
	// EnableEnvoyHeaders adds headers of Envoy, such as x-envoy-upstream-service-time. Default: false.
	//
	// +optional
	EnableEnvoyHeaders *bool `json:"enableEnvoyHeaders,omitempty"`

	// DisableRateLimitHeaders removes the headers x-ratelimit-limit, x-ratelimit-remaining and x-ratelimit-reset from
	// responses, which tell clients of rate limits. Default: false.
	//
	// +optional
	DisableRateLimitHeaders *bool `json:"disableRateLimitHeaders,omitempty"`

	// XForwardedClientCert says what happens to the header x-forwarded-client-cert, which has the certificate of the
	// client.
	//
	// +optional
	XForwardedClientCert *XForwardedClientCert `json:"xForwardedClientCert,omitempty"`

	// WithUnderscoresAction says what happens to a request with a header whose name has an underscore. Some backends
	// take such a name for the same name with a hyphen, so that it could stand for a header that Envoy checks. Default:
	// RejectRequest.
	//
	// +optional
	WithUnderscoresAction *WithUnderscoresAction `json:"withUnderscoresAction,omitempty"`

	// PreserveXRequestID keeps the client's x-request-id. Deprecated: write requestID PreserveOrGenerate.
	//
	// +optional
	PreserveXRequestID *bool `json:"preserveXRequestID,omitempty"`

	// RequestID says where the header x-request-id comes from. Default: Generate.
	//
	// +optional
	RequestID *RequestIDAction `json:"requestID,omitempty"`

	// EarlyRequestHeaders changes headers of requests before a route is chosen.
	//
	// +optional
	EarlyRequestHeaders *HTTPHeaderFilter `json:"earlyRequestHeaders,omitempty"`

	// LateResponseHeaders changes headers of responses after everything else.
	//
	// +optional
	LateResponseHeaders *HTTPHeaderFilter `json:"lateResponseHeaders,omitempty"`

	// Host says how the host of requests is read.
	//
	// +optional
	Host *HostSettings `json:"host,omitempty"`

	// MaxRequestHeaderLimit is how many bytes the headers of a request may have, from 1Ki to 8192Ki, rounded up to whole
	// Ki. Larger requests are answered 431. Default: 60Ki.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	MaxRequestHeaderLimit *resource.Quantity `json:"maxRequestHeaderLimit,omitempty"`
}

// HostSettings says how the host of requests is read.
type HostSettings struct {
	// StripTrailingHostDot removes the dot at the end of a host before a route is chosen. Without, a host with a dot is
	// another host. Default: true.
	//
	// +optional
	StripTrailingHostDot *bool `json:"stripTrailingHostDot,omitempty"`
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

// RequestIDAction is where x-request-id comes from. Generate makes one for each request, and replaces the client's.
// PreserveOrGenerate keeps the client's if there is one. Preserve keeps it and makes none. Disable does nothing with the
// header.
//
// +kubebuilder:validation:Enum=PreserveOrGenerate;Preserve;Generate;Disable
type RequestIDAction string

// The sources of x-request-id.
const (
	RequestIDPreserveOrGenerate RequestIDAction = "PreserveOrGenerate"
	RequestIDPreserve           RequestIDAction = "Preserve"
	RequestIDGenerate           RequestIDAction = "Generate"
	RequestIDDisable            RequestIDAction = "Disable"
)

// XForwardedClientCert says what happens to the header x-forwarded-client-cert.
//
// +kubebuilder:validation:XValidation:rule="!has(self.certDetailsToAdd) || size(self.certDetailsToAdd) == 0 || has(self.mode) && self.mode in ['AppendForward', 'SanitizeSet']",fieldPath=".certDetailsToAdd",message="only modes AppendForward and SanitizeSet add details: write one of them, or remove certDetailsToAdd"
type XForwardedClientCert struct {
	// Mode says what backends get. Sanitize removes the header. ForwardOnly passes the client's on if the client has a
	// certificate, AppendForward adds to it then, and SanitizeSet replaces it. AlwaysForwardOnly passes it on in any case,
	// so clients can write what they like. Default: Sanitize.
	//
	// +optional
	Mode *XFCCForwardMode `json:"mode,omitempty"`

	// CertDetailsToAdd are added, besides the hash of the certificate.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=5
	CertDetailsToAdd []XFCCCertData `json:"certDetailsToAdd,omitempty"`
}

// XFCCForwardMode says what backends get in x-forwarded-client-cert.
//
// +kubebuilder:validation:Enum=Sanitize;ForwardOnly;AppendForward;SanitizeSet;AlwaysForwardOnly
type XFCCForwardMode string

// The modes of x-forwarded-client-cert.
const (
	XFCCSanitize          XFCCForwardMode = "Sanitize"
	XFCCForwardOnly       XFCCForwardMode = "ForwardOnly"
	XFCCAppendForward     XFCCForwardMode = "AppendForward"
	XFCCSanitizeSet       XFCCForwardMode = "SanitizeSet"
	XFCCAlwaysForwardOnly XFCCForwardMode = "AlwaysForwardOnly"
)

// XFCCCertData is a part of a certificate.
//
// +kubebuilder:validation:Enum=Subject;Cert;Chain;DNS;URI
type XFCCCertData string

// The parts of certificates.
const (
	XFCCSubject XFCCCertData = "Subject"
	XFCCCert    XFCCCertData = "Cert"
	XFCCChain   XFCCCertData = "Chain"
	XFCCDNS     XFCCCertData = "DNS"
	XFCCURI     XFCCCertData = "URI"
)

// HTTPHeaderFilter changes headers. A percent sign in a value begins a command of Envoy, such as
// %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%, and two stand for one.
type HTTPHeaderFilter struct {
	// Set gives headers a value, and replaces the one that they have.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Set []HTTPHeader `json:"set,omitempty"`

	// Add gives headers one more value.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Add []HTTPHeader `json:"add,omitempty"`

	// AddIfAbsent gives headers a value that have none.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	AddIfAbsent []HTTPHeader `json:"addIfAbsent,omitempty"`

	// Remove removes headers.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Remove []string `json:"remove,omitempty"`

	// RemoveOnMatch removes headers whose names match.
	//
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	RemoveOnMatch []StringMatch `json:"removeOnMatch,omitempty"`
}

// HTTPHeader is a header.
type HTTPHeader struct {
	// Name is the name of the header.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// Value is the value of the header.
	//
	// +required
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`
}
