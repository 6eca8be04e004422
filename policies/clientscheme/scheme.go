// Package clientscheme is the scheme part of a ClientTrafficPolicy: the scheme that backends see.
package clientscheme

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the scheme part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name: "scheme",
	Check: func(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
		if spec.Scheme == nil {
			return nil
		}
		return feature.CheckChoice("scheme", *spec.Scheme, matches)
	},
	Listener: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
		if spec.Scheme != nil && matches[*spec.Scheme] {
			l.Manager.SchemeHeaderTransformation = &corev3.SchemeHeaderTransformation{MatchUpstream: true}
		}
	},
}

// matches says of each value whether the scheme is that of the connection to the backend.
var matches = map[v1alpha1.SchemeHeaderTransform]bool{v1alpha1.SchemePreserve: false, v1alpha1.SchemeMatchBackend: true}
