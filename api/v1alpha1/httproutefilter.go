package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// HTTPRouteFilter is what rules of HTTPRoutes and GRPCRoutes do beyond Gateway API. A filter of type ExtensionRef names
// it with group gateway.envoyproxy.io and kind HTTPRouteFilter, in a rule or in a backendRef. The filter is in the
// namespace of the route, and it may be used by many rules.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=envoy-gateway,shortName=hrf
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type HTTPRouteFilter struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what the filter does.
	//
	// +required
	Spec HTTPRouteFilterSpec `json:"spec"`
}

// HTTPRouteFilterSpec says what an HTTPRouteFilter does. Several of its parts may be set.
type HTTPRouteFilterSpec struct {
	// URLRewrite changes the host and the path of requests before they are forwarded. A rule may rewrite each of the two
	// once, by this or by a filter of type URLRewrite.
	//
	// +optional
	URLRewrite *HTTPURLRewriteFilter `json:"urlRewrite,omitempty"`

	// DirectResponse answers requests, and no backend of the rule gets them. A rule has at most one. Backends cannot have
	// any.
	//
	// +optional
	DirectResponse *HTTPDirectResponseFilter `json:"directResponse,omitempty"`

	// CredentialInjection adds a credential to requests before they are forwarded, such as an API key that clients do not
	// have. In a backendRef it is added to requests to this backend.
	//
	// +optional
	CredentialInjection *HTTPCredentialInjectionFilter `json:"credentialInjection,omitempty"`

	// Matches are conditions besides those of the rule: a request must fulfill one of them and one of the rule's matches.
	// One filter of a rule may have matches. They have no effect in a backendRef.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Matches []HTTPRouteMatchFilter `json:"matches,omitempty"`

	// Unread is what of the spec nobody reads.
	Unread []UnreadField `json:"-"`
}

// UnmarshalJSON decodes the spec, and notes what of it is not read.
func (s *HTTPRouteFilterSpec) UnmarshalJSON(text []byte) (err error) {
	type spec HTTPRouteFilterSpec // Without this method.
	s.Unread, err = decodeSpec(text, KindHTTPRouteFilter, (*spec)(s))
	return err
}

// HTTPDirectResponseFilter is a response of Envoy.
//
// +kubebuilder:validation:XValidation:rule="!has(self.header) || !has(self.header.remove) || size(self.header.remove) == 0",fieldPath=".header.remove",message="headers cannot be removed here: leave remove out"
type HTTPDirectResponseFilter struct {
	// ContentType is the header Content-Type. Default: text/plain, if the response has a body.
	//
	// +optional
	ContentType *string `json:"contentType,omitempty"`

	// Body is the body. It may contain command operators of Envoy, such as %REQ(:path)%. A response with status code 204 or
	// 304 cannot have one.
	//
	// +optional
	Body *CustomResponseBody `json:"body,omitempty"`

	// StatusCode is the status code. Rules of GRPCRoutes cannot have one below 300, because gRPC has no empty response.
	// Default: 200.
	//
	// +optional
	StatusCode *int `json:"statusCode,omitempty"`

	// Header says which headers are set, and which values are added. Values may contain command operators of Envoy.
	//
	// +optional
	Header *gwapiv1.HTTPHeaderFilter `json:"header,omitempty"`
}

// HTTPURLRewriteFilter changes the host and the path of requests before they are forwarded.
type HTTPURLRewriteFilter struct {
	// Hostname is how the host is changed.
	//
	// +optional
	Hostname *HTTPHostnameModifier `json:"hostname,omitempty"`

	// Path is how the path is changed. The query stays as it is.
	//
	// +optional
	Path *HTTPPathRegexModifier `json:"path,omitempty"`

	// AppendXForwardedHost says whether the host of the client is appended to the header X-Forwarded-Host when the host
	// is changed. Default: true.
	//
	// +optional
	AppendXForwardedHost *bool `json:"appendXForwardedHost,omitempty"`
}

// HTTPHostnameModifierType says where the new host comes from.
//
// +kubebuilder:validation:Enum=Header;Backend;PathRegex
type HTTPHostnameModifierType string

// Where the new host comes from.
const (
	HostnameFromHeader  HTTPHostnameModifierType = "Header"
	HostnameFromBackend HTTPHostnameModifierType = "Backend"
	HostnameFromPath    HTTPHostnameModifierType = "PathRegex"
)

// HTTPHostnameModifier is how the host is changed.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Header' ? has(self.header) : !has(self.header)",fieldPath=".header",message="type Header needs the name of a header, and the other types take none: set or remove header"
// +kubebuilder:validation:XValidation:rule="self.type == 'PathRegex' ? has(self.pathRegex) : !has(self.pathRegex)",fieldPath=".pathRegex",message="type PathRegex needs an expression, and the other types take none: set or remove pathRegex"
type HTTPHostnameModifier struct {
	// Type says where the new host comes from. Header takes the value of a header of the request; without the header
	// the host stays as it is. Backend takes the name of the endpoint: the DNS name or the hostname in a Backend.
	// PathRegex makes it of the path.
	//
	// +required
	Type HTTPHostnameModifierType `json:"type"`

	// Header is the name of the header, for type Header.
	//
	// +optional
	Header *string `json:"header,omitempty"`

	// PathRegex makes the host of the path, for type PathRegex. If the expression does not match the path, the path as a
	// whole is the host.
	//
	// +optional
	PathRegex *ReplaceRegexMatch `json:"pathRegex,omitempty"`
}

// HTTPPathModifierType says how the path is changed.
//
// +kubebuilder:validation:Enum=ReplaceRegexMatch
type HTTPPathModifierType string

// PathReplaceRegexMatch replaces each part of the path that an expression matches.
const PathReplaceRegexMatch HTTPPathModifierType = "ReplaceRegexMatch"

// HTTPPathRegexModifier is how the path is changed.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'ReplaceRegexMatch' || has(self.replaceRegexMatch)",fieldPath=".replaceRegexMatch",message="type ReplaceRegexMatch needs an expression: set replaceRegexMatch"
type HTTPPathRegexModifier struct {
	// Type says how the path is changed.
	//
	// +required
	Type HTTPPathModifierType `json:"type"`

	// ReplaceRegexMatch replaces each part of the path that the expression matches.
	//
	// +optional
	ReplaceRegexMatch *ReplaceRegexMatch `json:"replaceRegexMatch,omitempty"`
}

// ReplaceRegexMatch replaces what a regular expression matches.
type ReplaceRegexMatch struct {
	// Pattern is a regular expression in RE2 syntax.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	Pattern string `json:"pattern"`

	// Substitution replaces what the expression matches. \1 to \9 stand for what its groups match, and \0 for the whole.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:Pattern=`^[^\r\n\x00]*$`
	Substitution string `json:"substitution"`
}

// HTTPCredentialInjectionFilter adds a credential to requests.
type HTTPCredentialInjectionFilter struct {
	// Header is the name of the header that gets the credential. Default: Authorization.
	//
	// +optional
	Header *string `json:"header,omitempty"`

	// Overwrite says whether the credential replaces one that a request has already. Otherwise such a request stays as it
	// is. Default: false.
	//
	// +optional
	Overwrite *bool `json:"overwrite,omitempty"`

	// Credential is where the credential is.
	//
	// +required
	Credential InjectedCredential `json:"credential"`
}

// InjectedCredential is where a credential is.
type InjectedCredential struct {
	// ValueRef names a Secret whose key "credential" has the whole value of the header, such as "Basic dXNlcjpwYXNz". A
	// Secret in another namespace needs a ReferenceGrant for HTTPRouteFilters.
	//
	// +required
	ValueRef gwapiv1.SecretObjectReference `json:"valueRef"`
}

// HTTPRouteMatchFilter is a condition of requests. All of its parts must hold.
//
// +kubebuilder:validation:MinProperties=1
type HTTPRouteMatchFilter struct {
	// Cookies are conditions of cookies, which must all hold.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Cookies []HTTPCookieMatch `json:"cookies,omitempty"`
}

// CookieMatchType says how the value of a cookie is compared.
//
// +kubebuilder:validation:Enum=Exact;RegularExpression
type CookieMatchType string

// How the value of a cookie is compared.
const (
	CookieMatchExact             CookieMatchType = "Exact"
	CookieMatchRegularExpression CookieMatchType = "RegularExpression"
)

// HTTPCookieMatch is a condition of a cookie.
type HTTPCookieMatch struct {
	// Type says how the value is compared. A regular expression (RE2 syntax) must match the whole value.
	//
	// +optional
	// +kubebuilder:default=Exact
	Type *CookieMatchType `json:"type,omitempty"`

	// Name is the name of the cookie.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// Value is what the value of the cookie must be.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`
}

// HTTPRouteFilterList is a list of HTTPRouteFilters.
//
// +kubebuilder:object:root=true
type HTTPRouteFilterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HTTPRouteFilter `json:"items"`
}
