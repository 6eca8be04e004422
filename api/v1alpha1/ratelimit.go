package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// RateLimitSpec limits how many requests are served. A request above a limit is answered 429.
type RateLimitSpec struct {
	// Type says which half is read. It is deprecated: leave it out. Default: every half that is set.
	//
	// +optional
	Type *RateLimitType `json:"type,omitempty"`

	// Global limits what all Envoys serve together. They ask a service that counts, which the configuration of the control
	// plane names. Each match of each rule of a route counts for itself, for each host and each Gateway.
	//
	// +optional
	Global *GlobalRateLimit `json:"global,omitempty"`

	// Local limits what each Envoy serves. Each match of each rule of a route counts for itself.
	//
	// +optional
	Local *LocalRateLimit `json:"local,omitempty"`

	// Inherited are the global limits of the policies that the policy was merged over and that add to its own, the nearest
	// first.
	Inherited []InheritedLimits `json:"-"`
}

// RateLimitType says who counts requests.
//
// +kubebuilder:validation:Enum=Global;Local
type RateLimitType string

// Who counts requests: a service that all Envoys ask, or each Envoy.
const (
	GlobalRateLimitType RateLimitType = "Global"
	LocalRateLimitType  RateLimitType = "Local"
)

// GlobalRateLimit limits what all Envoys serve together.
type GlobalRateLimit struct {
	// Rules are the limits. A request that no rule counts is served.
	//
	// +required
	// +kubebuilder:validation:MaxItems=256
	Rules []RateLimitRule `json:"rules"`
}

// LocalRateLimit limits what each Envoy serves.
//
// +kubebuilder:validation:XValidation:rule="self.rules.all(r, !has(r.cost) || !has(r.cost.response))",message="a local limit has no cost.response: remove it, or write the rule into global"
// +kubebuilder:validation:XValidation:rule="self.rules.all(r, !has(r.limit.fromMetadata))",message="a local limit has no limit.fromMetadata: remove it, or write the rule into global"
type LocalRateLimit struct {
	// Rules are the limits. One of them may have no clientSelectors. It counts the requests that no other rule counts.
	// The units of the other rules must be multiples of its unit.
	//
	// +required
	// +kubebuilder:validation:MaxItems=16
	Rules []RateLimitRule `json:"rules"`
}

// RateLimitRule is one limit. A request is served if all limits that count it allow it.
type RateLimitRule struct {
	// ClientSelectors say which requests are counted: those that meet all of them. Default: all requests.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=8
	ClientSelectors []RateLimitSelectCondition `json:"clientSelectors,omitempty"`

	// Limit is how many requests are served in which time.
	//
	// +required
	Limit RateLimitValue `json:"limit"`

	// Cost is how much a request counts. Default: 1.
	//
	// +optional
	Cost *RateLimitCost `json:"cost,omitempty"`

	// Shared has all targets of the policy share one limit, on all Gateways. It has no effect on local limits.
	//
	// +optional
	Shared *bool `json:"shared,omitempty"`

	// ShadowMode counts requests and denies none. Default: false.
	//
	// +optional
	ShadowMode *bool `json:"shadowMode,omitempty"`

	// XRateLimitHeaders says whether responses have the x-ratelimit headers for this limit. Default: DraftVersion03.
	//
	// +optional
	XRateLimitHeaders *XRateLimitHeaders `json:"xRateLimitHeaders,omitempty"`
}

// XRateLimitHeaders are the headers that tell clients of a limit.
//
// +kubebuilder:validation:Enum=Off;DraftVersion03
type XRateLimitHeaders string

// The headers that tell clients of a limit: none, and those of draft-polli-ratelimit-headers-03.
const (
	XRateLimitHeadersOff            XRateLimitHeaders = "Off"
	XRateLimitHeadersDraftVersion03 XRateLimitHeaders = "DraftVersion03"
)

// RateLimitSelectCondition selects requests. It needs a condition, and all that are set must hold.
type RateLimitSelectCondition struct {
	// Headers are conditions on headers. All must hold.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=128
	Headers []RateLimitHeaderMatch `json:"headers,omitempty"`

	// Methods are conditions on the method. One must hold.
	//
	// +optional
	Methods []RateLimitMethodMatch `json:"methods,omitempty"`

	// Path is a condition on the path, without the query.
	//
	// +optional
	Path *RateLimitPathMatch `json:"path,omitempty"`

	// SourceCIDR is a condition on the address of the client.
	//
	// +optional
	SourceCIDR *RateLimitSourceMatch `json:"sourceCIDR,omitempty"`

	// QueryParams are conditions on parameters of the query. All must hold.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=16
	QueryParams []RateLimitQueryParamMatch `json:"queryParams,omitempty"`
}

// RateLimitValueMatchType says how a value is compared.
//
// +kubebuilder:validation:Enum=Exact;RegularExpression;Distinct
type RateLimitValueMatchType string

// How a value is compared: with a text, with an RE2 expression, or with nothing, and each value has its own limit.
const (
	RateLimitMatchExact             RateLimitValueMatchType = "Exact"
	RateLimitMatchRegularExpression RateLimitValueMatchType = "RegularExpression"
	RateLimitMatchDistinct          RateLimitValueMatchType = "Distinct"
)

// RateLimitHeaderMatch is a condition on a header.
type RateLimitHeaderMatch struct {
	// Type is Exact, RegularExpression, or Distinct: each value of the header has its own limit.
	//
	// +optional
	// +kubebuilder:default=Exact
	Type *RateLimitValueMatchType `json:"type,omitempty"`

	// Name is the name of the header.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// Value is what the value is compared with.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value *string `json:"value,omitempty"`

	// Invert has the condition hold if the value is another one, or the header is absent. Not for Distinct.
	//
	// +optional
	// +kubebuilder:default=false
	Invert *bool `json:"invert,omitempty"`
}

// RateLimitMethodMatch is a condition on the method.
type RateLimitMethodMatch struct {
	// Value is the method.
	//
	// +required
	Value gwapiv1.HTTPMethod `json:"value"`

	// Invert has the condition hold for all other methods.
	//
	// +optional
	// +kubebuilder:default=false
	Invert *bool `json:"invert,omitempty"`
}

// RateLimitPathMatch is a condition on the path.
type RateLimitPathMatch struct {
	// Type says how the path is compared.
	//
	// +optional
	// +kubebuilder:default=PathPrefix
	// +kubebuilder:validation:Enum=Exact;PathPrefix;RegularExpression
	Type *gwapiv1.PathMatchType `json:"type,omitempty"`

	// Value is what it is compared with.
	//
	// +optional
	// +kubebuilder:default="/"
	// +kubebuilder:validation:MaxLength=1024
	Value *string `json:"value,omitempty"`

	// Invert has the condition hold for all other paths.
	//
	// +optional
	// +kubebuilder:default=false
	Invert *bool `json:"invert,omitempty"`
}

// RateLimitSourceMatchType says whether clients share a limit.
//
// +kubebuilder:validation:Enum=Exact;Distinct
type RateLimitSourceMatchType string

// Whether the clients of a range share a limit, or each address has its own.
const (
	RateLimitSourceExact    RateLimitSourceMatchType = "Exact"
	RateLimitSourceDistinct RateLimitSourceMatchType = "Distinct"
)

// RateLimitSourceMatch is a condition on the address of the client.
type RateLimitSourceMatch struct {
	// Type is Exact for one limit for the range, and Distinct for one limit for each address in it.
	//
	// +optional
	// +kubebuilder:default=Exact
	Type *RateLimitSourceMatchType `json:"type,omitempty"`

	// Value is the range of addresses, such as 10.0.0.0/8.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value"`

	// Invert has the condition hold for all other addresses.
	//
	// +optional
	// +kubebuilder:default=false
	Invert *bool `json:"invert,omitempty"`
}

// RateLimitQueryParamMatch is a condition on a parameter of the query.
type RateLimitQueryParamMatch struct {
	// Type is Exact, RegularExpression, or Distinct: each value of the parameter has its own limit.
	//
	// +optional
	// +kubebuilder:default=Exact
	Type *RateLimitValueMatchType `json:"type,omitempty"`

	// Name is the name of the parameter.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// Value is what the value is compared with.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value *string `json:"value,omitempty"`

	// Invert has the condition hold if the value is another one, or the parameter is absent. Not for Distinct.
	//
	// +optional
	// +kubebuilder:default=false
	Invert *bool `json:"invert,omitempty"`
}

// RateLimitUnit is a time.
//
// +kubebuilder:validation:Enum=Second;Minute;Hour;Day;Week;Month;Year
type RateLimitUnit string

// The times of limits. A month has 30 days, and a year has 365.
const (
	RateLimitUnitSecond RateLimitUnit = "Second"
	RateLimitUnitMinute RateLimitUnit = "Minute"
	RateLimitUnitHour   RateLimitUnit = "Hour"
	RateLimitUnitDay    RateLimitUnit = "Day"
	RateLimitUnitWeek   RateLimitUnit = "Week"
	RateLimitUnitMonth  RateLimitUnit = "Month"
	RateLimitUnitYear   RateLimitUnit = "Year"
)

// RateLimitValue is how many requests are served in which time.
type RateLimitValue struct {
	// Requests is how many. 0 denies all.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
	Requests int64 `json:"requests"`

	// Unit is the time.
	//
	// +required
	Unit RateLimitUnit `json:"unit"`

	// FromMetadata is where in the dynamic metadata of the request another limit may be. The value there is a struct with
	// the fields requests_per_unit, a number, and unit, such as HOUR. Without it, or with another value, requests and unit
	// hold. Only for global limits.
	//
	// +optional
	FromMetadata *RateLimitMetadata `json:"fromMetadata,omitempty"`
}

// RateLimitMetadata is the place of a limit in the dynamic metadata of a request.
type RateLimitMetadata struct {
	// Namespace is the namespace of the metadata.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	Namespace string `json:"namespace"`

	// Key is the key in it.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	Key string `json:"key"`
}

// RateLimitCost is how much a request counts.
type RateLimitCost struct {
	// Request is what counts when the request comes, and must be there for the request to be served. Default: 1.
	//
	// +optional
	Request *RateLimitCostSpecifier `json:"request,omitempty"`

	// Response is what counts in addition when the response is complete. It denies only later requests. Only for global
	// limits. Default: nothing.
	//
	// +optional
	Response *RateLimitCostSpecifier `json:"response,omitempty"`
}

// RateLimitCostFrom says where a cost comes from.
//
// +kubebuilder:validation:Enum=Number;Metadata
type RateLimitCostFrom string

// Where a cost comes from: the policy, or metadata that a filter has set.
const (
	RateLimitCostFromNumber   RateLimitCostFrom = "Number"
	RateLimitCostFromMetadata RateLimitCostFrom = "Metadata"
)

// RateLimitCostSpecifier is a cost.
type RateLimitCostSpecifier struct {
	// From is Number or Metadata.
	//
	// +required
	From RateLimitCostFrom `json:"from"`

	// Number is the cost.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Number *int64 `json:"number,omitempty"`

	// Metadata is where in the dynamic metadata of the request the cost is.
	//
	// +optional
	Metadata *RateLimitCostMetadata `json:"metadata,omitempty"`
}

// RateLimitCostMetadata is a place in the dynamic metadata of a request.
type RateLimitCostMetadata struct {
	// Namespace is the namespace of the metadata.
	//
	// +required
	Namespace string `json:"namespace"`

	// Key is the key in it.
	//
	// +required
	Key string `json:"key"`
}
