// Package clienthttp3 is the http3 part of a ClientTrafficPolicy: whether listeners serve HTTP/3 too.
package clienthttp3

import (
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// Feature is the http3 part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:     "http3",
	Listener: listener,
	Effective: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if spec.HTTP3 != nil {
			e.OfClients().HTTP3 = new(true)
		}
	},
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	l.QUIC = spec.HTTP3 != nil
}
