// Package v1alpha1 holds the kinds of API group gateway.envoyproxy.io, version v1alpha1: the settings of an Envoy fleet
// (EnvoyProxy) and the policies that attach to Gateway API objects (BackendTrafficPolicy, SecurityPolicy). Of kinds that are not served yet only
// the targets are read (UnservedPolicy).
//
// Group, kinds and fields are those of Envoy Gateway, so that its manifests apply unchanged. A field is in a type only when the translation
// honours it. The CRDs keep all other fields of a spec, and decoding lists them (UnreadField), told apart by the list in envoygateway.txt: those
// that Envoy Gateway knows, and those that nobody does. To serve a field is to add it to its type.
//
// The doc comments are the reference that users read: they state units, defaults and where a rule comes from.
// Durations are Gateway API durations (GEP-2257): up to four groups of one to five digits and h, m, s or ms, such as
// 1h, 500ms or 1m30s.
//
// +kubebuilder:object:generate=true
// +groupName=gateway.envoyproxy.io
package v1alpha1
