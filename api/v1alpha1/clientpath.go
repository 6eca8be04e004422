package v1alpha1

// PathSettings says how the paths of requests are brought into one form.
type PathSettings struct {
	// EscapedSlashesAction says what happens to a request whose path has a slash or backslash written as %2F or %5C,
	// which backends may understand differently. Default: UnescapeAndRedirect.
	//
	// +optional
	EscapedSlashesAction *PathEscapedSlashAction `json:"escapedSlashesAction,omitempty"`

	// DisableMergeSlashes keeps several slashes in a row as they are, instead of making them one.
	//
	// +optional
	DisableMergeSlashes *bool `json:"disableMergeSlashes,omitempty"`
}

// PathEscapedSlashAction is what happens to a request with an escaped slash in its path. KeepUnchanged passes it on as it
// is. RejectRequest answers 400. UnescapeAndForward puts the slashes into the path. UnescapeAndRedirect does so too, and
// redirects the client to that path; gRPC requests are rejected instead.
//
// +kubebuilder:validation:Enum=KeepUnchanged;RejectRequest;UnescapeAndForward;UnescapeAndRedirect
type PathEscapedSlashAction string

// The actions for escaped slashes.
const (
	KeepUnchangedAction       PathEscapedSlashAction = "KeepUnchanged"
	RejectRequestAction       PathEscapedSlashAction = "RejectRequest"
	UnescapeAndForwardAction  PathEscapedSlashAction = "UnescapeAndForward"
	UnescapeAndRedirectAction PathEscapedSlashAction = "UnescapeAndRedirect"
)
