package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// DNS says how names of endpoints are resolved.
type DNS struct {
	// DNSRefreshRate is how often a name is resolved; more than 0s. Default: 30s.
	//
	// +optional
	DNSRefreshRate *gwapiv1.Duration `json:"dnsRefreshRate,omitempty"`

	// RespectDNSTTL resolves a name when its records expire instead. Default: true.
	//
	// +optional
	RespectDNSTTL *bool `json:"respectDnsTtl,omitempty"`

	// LookupFamily is which addresses of a name are used. IPv4Preferred uses IPv6 if there is no IPv4 address, and
	// IPv6Preferred the other way round. IPv4AndIPv6 uses both, as one endpoint each. Default: IPv4Preferred.
	//
	// +optional
	LookupFamily *DNSLookupFamily `json:"lookupFamily,omitempty"`
}

// DNSLookupFamily is which addresses of a name are used.
//
// +kubebuilder:validation:Enum=IPv4;IPv6;IPv4Preferred;IPv6Preferred;IPv4AndIPv6
type DNSLookupFamily string

// The addresses of a name that can be used.
const (
	IPv4DNSLookupFamily          DNSLookupFamily = "IPv4"
	IPv6DNSLookupFamily          DNSLookupFamily = "IPv6"
	IPv4PreferredDNSLookupFamily DNSLookupFamily = "IPv4Preferred"
	IPv6PreferredDNSLookupFamily DNSLookupFamily = "IPv6Preferred"
	IPv4AndIPv6DNSLookupFamily   DNSLookupFamily = "IPv4AndIPv6"
)
