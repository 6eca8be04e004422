package translator

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What may be on its way in HTTP/2 before it is read, on either side of Envoy (Envoy's guide for proxies at the edge).
const (
	streamWindow     = 64 * 1024
	connectionWindow = 1024 * 1024
)

// http2Options are HTTP/2 is spoken, with clients and with backends.
func http2Options() *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
	}
}
