// Package clienthttp1 is the http1 part of a ClientTrafficPolicy: HTTP/1 with clients.
package clienthttp1

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	casev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the http1 part, without disableSafeMaxConnectionDuration, which belongs to connection.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:     "http1",
	Check:    check,
	Listener: listener,
	Effective: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if spec.HTTP1 != nil && spec.HTTP1.HTTP10 != nil {
			e.OfClients().HTTP10 = new(true)
		}
	},
}

func check(spec *v1alpha1.ClientTrafficPolicySpec) (problems []verdict.Problem) {
	if spec.HTTP1 == nil {
		return nil
	}
	for i := range spec.HTTP1.IgnoredUpgradeTypes {
		problems = append(problems, feature.CheckStringMatch(fmt.Sprintf("http1.ignoredUpgradeTypes[%d]", i),
			&spec.HTTP1.IgnoredUpgradeTypes[i])...)
	}
	return problems
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	s := spec.HTTP1
	if s == nil {
		return
	}
	options := &corev3.Http1ProtocolOptions{EnableTrailers: ptr.Deref(s.EnableTrailers, false), AcceptHttp_10: s.HTTP10 != nil}
	if ptr.Deref(s.PreserveHeaderCase, false) {
		options.HeaderKeyFormat = &corev3.Http1ProtocolOptions_HeaderKeyFormat{
			HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{
				StatefulFormatter: feature.Extension("envoy.http.stateful_header_formatters.preserve_case",
					&casev3.PreserveCaseFormatterConfig{}),
			},
		}
	}
	if s.HTTP10 != nil && ptr.Deref(s.HTTP10.UseDefaultHost, false) {
		options.DefaultHostForHttp_10 = l.Host
	}
	for i := range s.IgnoredUpgradeTypes {
		if matcher := feature.StringMatcher(&s.IgnoredUpgradeTypes[i]); matcher != nil {
			options.IgnoreHttp_11Upgrade = append(options.IgnoreHttp_11Upgrade, matcher)
		}
	}
	l.Manager.HttpProtocolOptions = options
}
