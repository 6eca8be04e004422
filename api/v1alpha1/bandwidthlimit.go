package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// BandwidthLimit limits how fast bodies are forwarded. It needs request or response. Each Envoy and each match of each
// rule of a route counts for itself.
//
// +kubebuilder:validation:XValidation:rule="has(self.request) || has(self.response)",message="there is no limit: set request or response, or remove bandwidthLimit"
type BandwidthLimit struct {
	// Request limits what clients send.
	//
	// +optional
	Request *RequestBandwidthLimit `json:"request,omitempty"`

	// Response limits what clients receive.
	//
	// +optional
	Response *ResponseBandwidthLimit `json:"response,omitempty"`
}

// RequestBandwidthLimit limits what clients send.
type RequestBandwidthLimit struct {
	// Limit is how much.
	//
	// +required
	Limit BandwidthLimitValue `json:"limit"`
}

// ResponseBandwidthLimit limits what clients receive.
type ResponseBandwidthLimit struct {
	// Limit is how much.
	//
	// +required
	Limit BandwidthLimitValue `json:"limit"`

	// ResponseTrailers adds trailers to responses that say how much they were delayed. Default: none.
	//
	// +optional
	ResponseTrailers *BandwidthLimitResponseTrailers `json:"responseTrailers,omitempty"`
}

// BandwidthLimitResponseTrailers are trailers that say how much a response was delayed: bandwidth-request-delay-ms,
// bandwidth-response-delay-ms, bandwidth-request-filter-delay-ms and bandwidth-response-filter-delay-ms.
type BandwidthLimitResponseTrailers struct {
	// Prefix is put before their names, with a dash.
	//
	// +optional
	// +kubebuilder:validation:Pattern=`^[^\x00\r\n]*$`
	Prefix *string `json:"prefix,omitempty"`
}

// BandwidthLimitValue is how many bytes are forwarded in which time, at least 1Ki each second.
type BandwidthLimitValue struct {
	// Value is how many bytes.
	//
	// +required
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	Value resource.Quantity `json:"value"`

	// Unit is the time.
	//
	// +required
	Unit BandwidthLimitUnit `json:"unit"`
}

// BandwidthLimitUnit is a time.
//
// +kubebuilder:validation:Enum=Second;Minute;Hour
type BandwidthLimitUnit string

// The times of limits.
const (
	BandwidthLimitUnitSecond BandwidthLimitUnit = "Second"
	BandwidthLimitUnitMinute BandwidthLimitUnit = "Minute"
	BandwidthLimitUnitHour   BandwidthLimitUnit = "Hour"
)
