package extauth

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// kind is the kind of the provider.
const kind = "extAuth"

// Effective says what a filter of a rule or of a listener means.
func Effective(spec *gwapiv1.HTTPExternalAuthFilter, e *feature.Effective) {
	e.Authenticate(feature.AuthenticationProvider{
		Kind: kind, Backends: []feature.ObjectName{e.Backend(&spec.BackendRef)},
	})
}

func effective(rule *gwapiv1.HTTPRouteRule, _ feature.Have, e *feature.Effective) {
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterExternalAuth) {
		if f.ExternalAuth != nil {
			Effective(f.ExternalAuth, e)
		}
	}
}

// effectiveOfPolicy says nothing if the server is not there and requests are let through without it.
func effectiveOfPolicy(spec *v1alpha1.SecurityPolicySpec, have feature.Have, e *feature.Effective) {
	for _, need := range needsOfPolicy(spec) {
		if _, met := have.Clusters[need.Field]; met || !need.Optional {
			e.Authenticate(feature.AuthenticationProvider{
				Kind: kind, Backends: e.Backends(need.Backend.Refs), FailOpen: spec.ExtAuth.FailOpen,
			})
		}
	}
}
