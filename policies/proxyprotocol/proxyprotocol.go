// Package proxyprotocol is the proxyProtocol part of ClusterSettings: whether endpoints are told the client's address at
// the beginning of each connection.
package proxyprotocol

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the proxyProtocol part.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:    "proxyProtocol",
	Check:   check,
	Cluster: cluster,
	Effective: func(spec *v1alpha1.ClusterSettings, _ feature.Have, e *feature.Effective) {
		if spec.ProxyProtocol != nil {
			e.ProxyProtocol = string(spec.ProxyProtocol.Version)
		}
	},
}

var versions = map[v1alpha1.ProxyProtocolVersion]corev3.ProxyProtocolConfig_Version{
	v1alpha1.ProxyProtocolVersionV1: corev3.ProxyProtocolConfig_V1,
	v1alpha1.ProxyProtocolVersionV2: corev3.ProxyProtocolConfig_V2,
}

func check(spec *v1alpha1.ClusterSettings) []verdict.Problem {
	if spec.ProxyProtocol == nil {
		return nil
	}
	return feature.CheckChoice("proxyProtocol.version", spec.ProxyProtocol.Version, versions)
}

func cluster(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
	if spec.ProxyProtocol == nil {
		return
	}
	if version, ok := versions[spec.ProxyProtocol.Version]; ok {
		upstream.Cluster.TransportSocket = socket(&proxyprotocolv3.ProxyProtocolUpstreamTransport{
			Config: &corev3.ProxyProtocolConfig{Version: version},
			TransportSocket: &corev3.TransportSocket{
				Name:       "envoy.transport_sockets.raw_buffer",
				ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: feature.Any(&rawv3.RawBuffer{})},
			},
		})
	}
}

func socket(config *proxyprotocolv3.ProxyProtocolUpstreamTransport) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.upstream_proxy_protocol",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: feature.Any(config)},
	}
}

// Wrap returns the feature's socket with another one inside of it, such as one for TLS. Without the feature's socket it
// returns the other one.
func Wrap(outer, inner *corev3.TransportSocket) *corev3.TransportSocket {
	var config proxyprotocolv3.ProxyProtocolUpstreamTransport
	if outer == nil || outer.GetTypedConfig().UnmarshalTo(&config) != nil {
		return inner
	}
	if inner == nil {
		return outer
	}
	config.TransportSocket = inner
	return socket(&config)
}
