package v1alpha1

// HTTP3Settings offers HTTP/3 to clients, with Envoy's defaults.
type HTTP3Settings struct{}
