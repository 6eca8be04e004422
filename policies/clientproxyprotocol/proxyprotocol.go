// Package clientproxyprotocol is the proxyProtocol part of a ClientTrafficPolicy: the PROXY protocol of what is before
// Envoy.
package clientproxyprotocol

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// Feature is the proxyProtocol part, and the older enableProxyProtocol.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:     "proxyProtocol",
	Listener: listener,
	Effective: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if wanted(spec) {
			e.OfClients().ProxyProtocol = "Required"
			if optional(spec) {
				e.OfClients().ProxyProtocol = "Optional"
			}
		}
	},
}

func wanted(spec *v1alpha1.ClientTrafficPolicySpec) bool {
	return spec.ProxyProtocol != nil || ptr.Deref(spec.EnableProxyProtocol, false)
}

func optional(spec *v1alpha1.ClientTrafficPolicySpec) bool {
	return spec.ProxyProtocol != nil && ptr.Deref(spec.ProxyProtocol.Optional, false)
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	if !wanted(spec) {
		return
	}
	l.Socket.ListenerFilters = append(l.Socket.ListenerFilters, &listenerv3.ListenerFilter{
		Name: "envoy.filters.listener.proxy_protocol",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: feature.Any(&proxyv3.ProxyProtocol{
			AllowRequestsWithoutProxyProtocol: optional(spec),
		})},
	})
}
