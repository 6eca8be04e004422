package v1alpha1

// ClientIPDetectionSettings says how the address of the client is found, which authorization, rate limits and logs see.
// Without it, it is that of the connection.
//
// +kubebuilder:validation:ExactlyOneOf=xForwardedFor;customHeader;directSourceIP
type ClientIPDetectionSettings struct {
	// XForwardedFor takes the address from the header x-forwarded-for.
	//
	// +optional
	XForwardedFor *XForwardedForSettings `json:"xForwardedFor,omitempty"`

	// CustomHeader takes the address from another header.
	//
	// +optional
	CustomHeader *CustomHeaderExtensionSettings `json:"customHeader,omitempty"`

	// DirectSourceIP takes the address of the connection.
	//
	// +optional
	DirectSourceIP *DirectSourceIPSettings `json:"directSourceIP,omitempty"`
}

// XForwardedForSettings says which entries of x-forwarded-for are trusted. Proxies append the address from which they got
// a request, so the last entries are those of the proxies before Envoy.
//
// +kubebuilder:validation:ExactlyOneOf=numTrustedHops;trustedCIDRs
type XForwardedForSettings struct {
	// NumTrustedHops is how many proxies before Envoy append to the header. With 1, the last entry is the client. 0 trusts
	// no entry.
	//
	// +optional
	NumTrustedHops *uint32 `json:"numTrustedHops,omitempty"`

	// TrustedCIDRs are the addresses of the proxies before Envoy. The client is the last entry that is none of them.
	//
	// +optional
	// +kubebuilder:validation:MinItems=1
	TrustedCIDRs []CIDR `json:"trustedCIDRs,omitempty"`

	// DisableXForwardedForAppend leaves the header as it is, instead of appending the address of the connection.
	//
	// +optional
	DisableXForwardedForAppend *bool `json:"disableXForwardedForAppend,omitempty"`
}

// CustomHeaderExtensionSettings takes the address of the client from a header, whoever sends it. So all requests must
// come through a proxy that sets it.
type CustomHeaderExtensionSettings struct {
	// Name is the name of the header.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern="^[A-Za-z0-9-]+$"
	Name string `json:"name"`

	// FailClosed answers 403 to requests whose header has no address. Without it, the address is that of the connection.
	//
	// +optional
	FailClosed *bool `json:"failClosed,omitempty"`
}

// DirectSourceIPSettings has no settings.
type DirectSourceIPSettings struct{}
