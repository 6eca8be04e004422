package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// BackendUtilization gives each endpoint a share of requests by the load that it reports (ORCA, Open Request Cost
// Aggregation): in the response header endpoint-load-metrics or endpoint-load-metrics-bin, or with outOfBand over gRPC.
// Until an endpoint has reported for blackoutPeriod, it gets an average share.
type BackendUtilization struct {
	// BlackoutPeriod is how long an endpoint must have reported before its reports count. Default: 10s.
	//
	// +optional
	BlackoutPeriod *gwapiv1.Duration `json:"blackoutPeriod,omitempty"`

	// WeightExpirationPeriod is after how long without a report the last one does not count any more. Default: 3m.
	//
	// +optional
	WeightExpirationPeriod *gwapiv1.Duration `json:"weightExpirationPeriod,omitempty"`

	// WeightUpdatePeriod is how often shares are computed; at least 100ms. Default: 1s.
	//
	// +optional
	WeightUpdatePeriod *gwapiv1.Duration `json:"weightUpdatePeriod,omitempty"`

	// ErrorUtilizationPenaltyPercent is how much failed requests, as a share of all, add to the load of an endpoint; 100
	// adds the share itself. Default: 100.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	ErrorUtilizationPenaltyPercent *uint32 `json:"errorUtilizationPenaltyPercent,omitempty"`

	// MetricNamesForComputingUtilization are the reported values of which the highest is the load, such as
	// named_metrics.queue. Default: application_utilization, and cpu_utilization if it is not reported.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=64
	MetricNamesForComputingUtilization []string `json:"metricNamesForComputingUtilization,omitempty"`

	// KeepResponseHeaders lets clients see the headers of the reports.
	//
	// +optional
	// +kubebuilder:default=false
	KeepResponseHeaders *bool `json:"keepResponseHeaders,omitempty"`

	// OutOfBand asks endpoints for reports over gRPC (xds.service.orca.v3.OpenRcaService), instead of reading them from
	// responses.
	//
	// +optional
	OutOfBand *OutOfBand `json:"outOfBand,omitempty"`
}

// OutOfBand asks endpoints for reports over gRPC.
type OutOfBand struct {
	// ReportingPeriod is how often an endpoint should report; more than 0s. Default: 10s.
	//
	// +optional
	ReportingPeriod *gwapiv1.Duration `json:"reportingPeriod,omitempty"`

	// Port is where endpoints are asked. Default: the port of requests.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`

	// Authority is the host that endpoints are asked for. Default: the name or address of the endpoint.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=259
	Authority *string `json:"authority,omitempty"`
}

// EndpointOverride lets a request name the endpoint that it goes to.
type EndpointOverride struct {
	// ExtractFrom are the places where a request may name it. The first that names an endpoint of the backend counts.
	//
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	ExtractFrom []EndpointOverrideExtractFrom `json:"extractFrom"`
}

// EndpointOverrideExtractFrom is where a request may name its endpoint.
type EndpointOverrideExtractFrom struct {
	// Header is a request header with an address and a port, such as 10.1.2.3:8080 or [2001:db8::1]:8080. Several,
	// separated by commas, are tried in order.
	//
	// +optional
	Header *string `json:"header,omitempty"`
}
