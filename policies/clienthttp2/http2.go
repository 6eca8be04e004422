// Package clienthttp2 is the http2 part of a ClientTrafficPolicy: HTTP/2 with clients.
package clienthttp2

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/http2"
	"gatehouse/policies/verdict"
)

// Feature is the http2 part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name: "http2",
	Check: func(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
		return http2.Check("http2", spec.HTTP2)
	},
	Listener: listener,
	Effective: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if spec.HTTP2 != nil && spec.HTTP2.MaxConcurrentStreams != nil {
			e.OfClients().MaxConcurrentStreams = new(int64(*spec.HTTP2.MaxConcurrentStreams))
		}
	},
}

// Defaults for clients: bytes of unread data, and requests at a time (Envoy's guide for edge proxies).
const (
	streamWindow     = 64 << 10
	connectionWindow = 1 << 20
	streams          = 100
)

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	l.Manager.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
		MaxConcurrentStreams:        wrapperspb.UInt32(streams),
	}
	if spec.HTTP2 != nil && len(http2.Check("http2", spec.HTTP2)) == 0 {
		proto.Merge(l.Manager.Http2ProtocolOptions, http2.Options(spec.HTTP2))
	}
}
