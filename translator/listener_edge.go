package translator

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Limits for unread data of HTTP/2, on either side of Envoy (Envoy's guide for edge proxies).
const (
	streamWindow     = 64 * 1024
	connectionWindow = 1024 * 1024
)

// http2Options are the settings of HTTP/2 with clients and with backends.
func http2Options() *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
	}
}
