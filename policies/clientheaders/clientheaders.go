// Package clientheaders is the headers part of a ClientTrafficPolicy: how headers of requests are read.
package clientheaders

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the headers part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:     "headers",
	Check:    check,
	Listener: listener,
	Effective: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if spec.Headers != nil && spec.Headers.WithUnderscoresAction != nil {
			e.OfClients().HeadersWithUnderscores = string(*spec.Headers.WithUnderscoresAction)
		}
	},
}

// actions are Envoy's for names with underscores.
var actions = map[v1alpha1.WithUnderscoresAction]corev3.HttpProtocolOptions_HeadersWithUnderscoresAction{
	v1alpha1.WithUnderscoresActionAllow:         corev3.HttpProtocolOptions_ALLOW,
	v1alpha1.WithUnderscoresActionRejectRequest: corev3.HttpProtocolOptions_REJECT_REQUEST,
	v1alpha1.WithUnderscoresActionDropHeader:    corev3.HttpProtocolOptions_DROP_HEADER,
}

func check(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
	if spec.Headers == nil || spec.Headers.WithUnderscoresAction == nil {
		return nil
	}
	return feature.CheckChoice("headers.withUnderscoresAction", *spec.Headers.WithUnderscoresAction, actions)
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	action := corev3.HttpProtocolOptions_REJECT_REQUEST
	if spec.Headers != nil && spec.Headers.WithUnderscoresAction != nil {
		if chosen, ok := actions[*spec.Headers.WithUnderscoresAction]; ok {
			action = chosen
		}
	}
	l.Manager.CommonHttpProtocolOptions.HeadersWithUnderscoresAction = action
}
