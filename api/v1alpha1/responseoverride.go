package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// ResponseOverride replaces responses by others.
//
// +kubebuilder:validation:XValidation:rule="has(self.response) != has(self.redirect)",message="a response is replaced by one thing: set response or redirect"
type ResponseOverride struct {
	// Match says which responses are replaced.
	//
	// +required
	Match CustomResponseMatch `json:"match"`

	// Response is what clients get.
	//
	// +optional
	Response *CustomResponse `json:"response,omitempty"`

	// Redirect is where Envoy asks for the response that clients get, by GET and with the headers of the request. The host
	// and the path lead to a route of the same listener. Clients do not notice. If there is no such route, or if the
	// response comes before the end of the request, clients get the response as it is.
	//
	// +optional
	Redirect *CustomRedirect `json:"redirect,omitempty"`

	// Source says whose responses are replaced: Backend for those of backends, Local for those of Envoy itself, such as to
	// clients that are not let in, or All. Default: All.
	//
	// +optional
	Source *ResponseOverrideSource `json:"source,omitempty"`
}

// ResponseOverrideSource says whose responses are replaced.
//
// +kubebuilder:validation:Enum=All;Local;Backend
type ResponseOverrideSource string

// Whose responses are replaced.
const (
	ResponseOverrideSourceAll     ResponseOverrideSource = "All"
	ResponseOverrideSourceLocal   ResponseOverrideSource = "Local"
	ResponseOverrideSourceBackend ResponseOverrideSource = "Backend"
)

// CustomResponseMatch says which responses are replaced: those that have one of the status codes, and all of the headers.
//
// +kubebuilder:validation:XValidation:rule="(has(self.statusCodes) && size(self.statusCodes) > 0) || (has(self.responseHeaders) && size(self.responseHeaders) > 0)",message="nothing says which responses are meant: set statusCodes or responseHeaders"
type CustomResponseMatch struct {
	// StatusCodes are the status codes, one of which a response must have.
	//
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	StatusCodes []StatusCodeMatch `json:"statusCodes,omitempty"`

	// ResponseHeaders are the headers, all of which a response must have.
	//
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	ResponseHeaders []ResponseHeaderMatch `json:"responseHeaders,omitempty"`
}

// ResponseHeaderMatch is a condition on a header of a response.
type ResponseHeaderMatch struct {
	// Name is the name of the header.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// Value says which values it may have.
	//
	// +required
	Value StringMatch `json:"value"`
}

// StatusCodeMatch is a status code, or several in a row.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'Range' || has(self.range)",message="type Range needs range: set it"
// +kubebuilder:validation:XValidation:rule="self.type == 'Range' || has(self.value)",message="type Value needs value: set it"
type StatusCodeMatch struct {
	// Type is Value or Range.
	//
	// +optional
	// +kubebuilder:default=Value
	Type *StatusCodeValueType `json:"type,omitempty"`

	// Value is the status code.
	//
	// +optional
	Value *int `json:"value,omitempty"`

	// Range is the status codes from one to another, both included.
	//
	// +optional
	Range *StatusCodeRange `json:"range,omitempty"`
}

// StatusCodeValueType says whether one status code is meant or several.
//
// +kubebuilder:validation:Enum=Value;Range
type StatusCodeValueType string

// Whether one status code is meant or several.
const (
	StatusCodeValueTypeValue StatusCodeValueType = "Value"
	StatusCodeValueTypeRange StatusCodeValueType = "Range"
)

// StatusCodeRange is status codes in a row.
//
// +kubebuilder:validation:XValidation:rule="self.end > self.start",fieldPath=".end",message="end must be above start: change one of both"
type StatusCodeRange struct {
	// Start is the first one.
	//
	// +required
	Start int `json:"start"`

	// End is the last one.
	//
	// +required
	End int `json:"end"`
}

// CustomResponse is a response in the place of another one. It has the other's status code if it names none, and nothing
// else of it: no headers and no body.
//
// +kubebuilder:validation:XValidation:rule="!has(self.header) || !has(self.header.remove) || size(self.header.remove) == 0",fieldPath=".header.remove",message="headers cannot be removed here: leave remove out"
type CustomResponse struct {
	// ContentType is the header Content-Type. Default: text/plain, if the response has a body here.
	//
	// +optional
	ContentType *string `json:"contentType,omitempty"`

	// Body is the body. It may contain command operators of Envoy, such as %RESPONSE_CODE%, which is the status code of the
	// response that is replaced. A response with status code 204 or 304 cannot have one.
	//
	// +optional
	Body *CustomResponseBody `json:"body,omitempty"`

	// StatusCode is the status code.
	//
	// +optional
	StatusCode *int `json:"statusCode,omitempty"`

	// Header says which headers are set, and which values are added. Values may contain command operators of Envoy.
	//
	// +optional
	Header *gwapiv1.HTTPHeaderFilter `json:"header,omitempty"`
}

// CustomResponseBody is the body of a response.
//
// +kubebuilder:validation:XValidation:rule="!has(self.valueRef) || self.valueRef.kind == 'ConfigMap'",fieldPath=".valueRef.kind",message="a body is in a ConfigMap: write kind ConfigMap"
type CustomResponseBody struct {
	// Type is Inline or ValueRef.
	//
	// +optional
	// +kubebuilder:default=Inline
	Type *ResponseValueType `json:"type,omitempty"`

	// Inline is the body itself.
	//
	// +optional
	Inline *string `json:"inline,omitempty"`

	// ValueRef names a ConfigMap of the same namespace that has the body under the key response.body, or under its only key.
	//
	// +optional
	ValueRef *gwapiv1.LocalObjectReference `json:"valueRef,omitempty"`
}

// ResponseValueType says where a body is.
//
// +kubebuilder:validation:Enum=Inline;ValueRef
type ResponseValueType string

// Where a body is.
const (
	ResponseValueTypeInline   ResponseValueType = "Inline"
	ResponseValueTypeValueRef ResponseValueType = "ValueRef"
)

// CustomRedirect is where Envoy asks for a response: at a hostname, a path or both. What it does not name is taken from the
// request, and so is the query if the path has none.
type CustomRedirect struct {
	// Scheme is http or https.
	//
	// +optional
	// +kubebuilder:validation:Enum=http;https
	Scheme *string `json:"scheme,omitempty"`

	// Hostname is the host.
	//
	// +optional
	Hostname *gwapiv1.PreciseHostname `json:"hostname,omitempty"`

	// Path is the path. Its type is ReplaceFullPath.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.type == 'ReplaceFullPath'",message="only a whole path can be written here: write type ReplaceFullPath"
	Path *gwapiv1.HTTPPathModifier `json:"path,omitempty"`

	// Port is the port.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`

	// StatusCode replaces the status code of the response, if this is below 300 and the route that it comes from has
	// responseOverride too. Default: 302.
	//
	// +optional
	// +kubebuilder:default=302
	// +kubebuilder:validation:Enum=301;302
	StatusCode *int `json:"statusCode,omitempty"`
}
