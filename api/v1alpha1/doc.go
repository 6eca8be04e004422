// Package v1alpha1 has the kinds of API group gateway.envoyproxy.io, version v1alpha1: the settings of an Envoy fleet
// (EnvoyProxy), the policies that attach to Gateway API objects (BackendTrafficPolicy, ClientTrafficPolicy,
// SecurityPolicy), and endpoints that routes can refer to (Backend). For kinds that are not served yet, only the targets
// are read (UnservedPolicy).
//
// Group, kinds and fields are the same as in Envoy Gateway, so that its manifests apply unchanged. A type has a field
// only if the translation implements it. The CRDs keep all other fields of a spec, and decoding lists them
// (UnreadField). The list in envoygateway.txt distinguishes fields that Envoy Gateway has from unknown ones. To serve a
// field, add it to its type.
//
// The doc comments are the reference for users: they state units, defaults and the source of a rule. Durations are
// Gateway API durations (GEP-2257): up to four groups of one to five digits and h, m, s or ms, such as 1h, 500ms or
// 1m30s.
//
// +kubebuilder:object:generate=true
// +groupName=gateway.envoyproxy.io
package v1alpha1
