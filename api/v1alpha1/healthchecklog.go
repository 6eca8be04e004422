package v1alpha1

// ProxyHealthCheckLog writes what active health checks find, as JSON, one line for each event.
type ProxyHealthCheckLog struct {
	// Sinks is where it is written. Default: the file /dev/stdout.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=1
	Sinks []ProxyHealthCheckLogSink `json:"sinks,omitempty"`

	// Matches are the events that are written. HealthyTransition and FailureSeriesStart are only changes of the state of
	// an endpoint, Success and Failure are all answers. One of Success and HealthyTransition, and one of Failure and
	// FailureSeriesStart, must be there. Default: everything.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:XValidation:rule="self.size() == 0 || (('Success' in self || 'HealthyTransition' in self) && ('Failure' in self || 'FailureSeriesStart' in self))",message="changes for better and for worse are only written together: list one of Success and HealthyTransition, and one of Failure and FailureSeriesStart"
	Matches []HealthCheckEventType `json:"matches,omitempty"`
}

// ProxyHealthCheckLogSink is where events are written.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'File' ? has(self.file) : !has(self.file)",fieldPath=".file",message="type is File, so file must be set"
type ProxyHealthCheckLogSink struct {
	// Type is what is written to.
	//
	// +unionDiscriminator
	// +required
	Type ProxyHealthCheckLogSinkType `json:"type"`

	// File is the file when type is File.
	//
	// +optional
	File *FileHealthCheckLog `json:"file,omitempty"`
}

// ProxyHealthCheckLogSinkType is what events can be written to.
//
// +kubebuilder:validation:Enum=File
type ProxyHealthCheckLogSinkType string

// ProxyHealthCheckLogSinkTypeFile writes to a file.
const ProxyHealthCheckLogSinkTypeFile ProxyHealthCheckLogSinkType = "File"

// FileHealthCheckLog is a file in the container of Envoy.
type FileHealthCheckLog struct {
	// Path is its absolute path, such as /dev/stdout.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	Path string `json:"path"`
}

// HealthCheckEventType is an event of active health checks.
//
// +kubebuilder:validation:Enum=Failure;FailureSeriesStart;Success;HealthyTransition
type HealthCheckEventType string

// The events of active health checks.
const (
	HealthCheckEventFailure            HealthCheckEventType = "Failure"
	HealthCheckEventFailureSeriesStart HealthCheckEventType = "FailureSeriesStart"
	HealthCheckEventSuccess            HealthCheckEventType = "Success"
	HealthCheckEventHealthyTransition  HealthCheckEventType = "HealthyTransition"
)
