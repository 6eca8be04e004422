package report

import (
	"cmp"
	"strings"
)

// help says what a reason is about in general, in one sentence. The message of a finding says what is wrong in particular.
func help(reason string) string {
	return cmp.Or(meanings[reason], "Gatehouse reports "+reason+".")
}

// meanings are those of the reasons that findings have: Gateway API's, ours, those of the API server, and those of check.
var meanings = map[string]string{
	// Of objects that an API server does not store.
	"Unreadable":      "The document is not an object of Kubernetes, or not one of the form that its kind has.",
	"UnknownField":    "The kind has no such field: its name is misspelt, or it stands in the wrong place.",
	"Duplicate":       "Two documents describe the same object.",
	"AdmissionPolicy": "An admission policy among the files denies the object, or warns about it.",

	"FieldValueRequired":     "The CRD requires a field that the object does not have.",
	"FieldValueInvalid":      "The CRD does not allow the value: a rule, a pattern or a limit forbids it.",
	"FieldValueTypeInvalid":  "The value has another type than the CRD says, such as a text instead of a number.",
	"FieldValueNotSupported": "The CRD lists the values that are possible, and this is none of them.",
	"FieldValueDuplicate":    "A list has two elements with the same key.",
	"FieldValueTooLong":      "The value is longer than the CRD allows.",
	"FieldValueTooMany":      "The list has more elements than the CRD allows.",
	"FieldValueForbidden":    "The field must not be set here.",

	// Of all kinds.
	"Invalid":           "The value can never work as it is written.",
	"Unchecked":         "The rule is in effect, although not everything of it could be checked.",
	"RuleViolated":      "A rule of the platform forbids this. The message names the rule.",
	"RuleFailed":        "A rule of the platform could not be evaluated for the object. The message names the rule.",
	"Expired":           "The exception has expired, so the rule holds again.",
	"ExpiresSoon":       "The exception ends soon. From then on the rule holds again.",
	"RuleNotFound":      "The exception is from a rule that does not exist.",
	"Defaulted":         "Admission fills in a value that the object leaves open, and keeps the traffic as it is.",
	"Disabled":          "The configuration of the control plane does not allow this kind or field.",
	"UnsupportedValue":  "Gatehouse does not serve the field or its value. The traffic that needs it fails closed.",
	"RefNotPermitted":   "The object refers into another namespace, and no ReferenceGrant there allows it.",
	"InvalidParameters": "The parameters of the Gateway or GatewayClass do not exist or are wrong.",
	"InvalidKind":       "A reference names a kind that is not possible in its place.",
	"Pending":           "The object waits for something that does not exist yet.",

	// Of Gateways and their listeners.
	"HostnameConflict":                 "Another listener has the same port and hostname, and comes first.",
	"ProtocolConflict":                 "Another listener has the same port with a protocol that cannot share it.",
	"PortUnavailable":                  "The listener cannot have this port.",
	"UDPPortTaken":                     "HTTP/3 needs the UDP port of the listener, and another listener has it.",
	"UnsupportedProtocol":              "Gatehouse does not serve the protocol of the listener.",
	"UnsupportedHTTP3ClientValidation": "HTTP/3 cannot ask for client certificates in this way.",
	"HTTP3Rejected":                    "Envoy rejects the settings of the listener for HTTP/3.",
	"ListenersWithoutHTTPS":            "The setting needs a listener with HTTPS, and there is none.",
	"ContentExpired":                   "Something that the policy refers to was valid for a time only, which is over.",
	"ContentNotYetValid":               "Something that the policy refers to is not valid yet.",
	"ListenersWithoutTLS":              "The setting is about terminating TLS, which the listener does not do.",
	"ListenersWithoutRequests":         "The setting is about requests, and the listener passes connections on.",
	"OverlappingCertificates":          "The certificates of several listeners are for the same hosts.",
	"OverlappingHostnames":             "Listeners of one port have hostnames in common, which clients may mix up.",
	"InvalidRouteKinds":                "The listener allows kinds of routes that its protocol cannot have.",
	"InvalidClientCertificateRef":      "The certificate for backends does not exist, or is no valid certificate with its key.",
	"NoValidCACertificate":             "None of the authorities for certificates is valid.",
	"InvalidCertificateRef":            "The certificate of the listener does not exist, or is no valid certificate with its key.",
	"InvalidCACertificateRef":          "The authority for certificates does not exist, or is no valid certificate.",
	"InvalidCACertificateKind":         "The authority for certificates is referred to by a kind that cannot have one.",
	"CertificateForOtherHosts":         "The certificate is not for the hostname of the listener, so clients refuse it.",
	"CertificatesInWrongOrder":         "The certificates of the chain are not in the order in which clients need them.",
	"InvalidAnnotations":               "The annotations for cert-manager contradict each other, or one of them has a wrong value.",
	"IssuerNotReady":                   "The issuer of the certificate does not exist or is not ready.",
	"HostnameExcluded":                 "The issuer can never issue a certificate for the hostname.",
	"ChallengeUnreachable":             "The issuer proves hostnames by HTTP, and no listener gets its requests.",
	"TemporaryCertificate":             "The listener has a temporary certificate of cert-manager, which no client trusts.",
	"UnsupportedAddress":               "The Gateway asks for an address of a type that is not supported.",
	"UnsupportedAddressType":           "The addresses are of a type that is not supported.",
	"AddressNotUsable":                 "The Gateway asks for an address that it cannot have.",
	"NotAssigned":                      "The Gateway asks for addresses that it does not get.",
	"InvalidListenerFilter":            "A filter of the listener is wrong.",
	"InvalidListenerFilterRef":         "A filter of the listener refers to something that does not exist or is wrong.",
	"NotAllowed":                       "The Gateway does not allow ListenerSets from this namespace, or the rule does not allow exceptions.",

	// Of routes and backends.
	"NoMatchingParent":           "The parent does not exist, or has no listener with this name, port and protocol.",
	"NotAllowedByListeners":      "No listener of the parent allows routes of this kind from this namespace.",
	"NoMatchingListenerHostname": "No listener of the parent has a hostname in common with the route.",
	"BackendNotFound":            "The backend does not exist.",
	"PortNotFound":               "The backend does not have the port.",
	"PortNotSpecified":           "The reference to the backend has no port.",
	"NoBackends":                 "The rule has no backend, so it answers with an error.",
	"EndpointsNotFound":          "The backend has no endpoint.",
	"IncompatibleFilters":        "The filters of a rule cannot be used together.",
	"RouteRulesOverlap":          "Another route has the same match on the same host, and comes first.",
	"InvalidBackendTLS":          "TLS to the backend is not set up correctly.",
	"AllZones":                   "Requests go to the endpoints of all zones, although the nearest are asked for.",

	// Of policies.
	"TargetNotFound":        "The policy is about something that does not exist.",
	"Conflicted":            "An older policy has the same target and wins.",
	"OnlyForRoutes":         "The setting has an effect only in a policy on a route.",
	"OnlyForRequests":       "The setting is about requests, which Envoy does not read on routes of this kind.",
	"NotForDatagrams":       "Envoy does not have the setting for datagrams.",
	"OnlyForClients":        "The setting is about clients, and has no effect on the way to a backend.",
	"OnlyForGlobal":         "The setting has an effect only in limits that all Envoys share.",
	"OnlyForType":           "The type of the limits does not include these.",
	"LimitFromMetadata":     "The limit comes from metadata, and the setting has no effect on such limits.",
	"OtherType":             "The field belongs to another type than the one that is written.",
	"SetByHeader":           "Another field sets the same header, and wins.",
	"EndpointFromHost":      "The host of each request is its endpoint, so there is no choice that the setting could be about.",
	"NoTracingProvider":     "No Envoy sends spans, so the setting has no effect.",
	"NotForDynamicResolver": "The setting has no effect on a Backend of type DynamicResolver.",
	"InvalidBackendRef":     "The backend cannot be used together with the others of its rule.",
	"NotFetched":            "Content that the policy needs could not be fetched.",
}

// title is a sentence without its full stop, as lists of rules show it.
func title(sentence string) string { return strings.TrimSuffix(sentence, ".") }
