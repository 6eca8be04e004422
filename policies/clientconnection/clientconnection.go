// Package clientconnection is the connection part of a ClientTrafficPolicy: how connections of clients are handled.
package clientconnection

import (
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the connection part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:      "connection",
	Check:     check,
	Listener:  listener,
	Effective: effective,
}

// defaultBuffer is how many bytes of a connection are held in each direction by default.
const defaultBuffer = 32 * 1024

// Options of sockets in Linux.
const (
	levelSocket   = 1 // SOL_SOCKET
	sendBuffer    = 7 // SO_SNDBUF
	receiveBuffer = 8 // SO_RCVBUF
)

func check(spec *v1alpha1.ClientTrafficPolicySpec) (problems []verdict.Problem) {
	if _, ok := bufferLimit(spec); !ok {
		problems = append(problems, feature.Invalid("connection.bufferLimit",
			"%s is out of range: write a number of bytes from 1 to %d, such as 64Ki",
			spec.Connection.BufferLimit, math.MaxUint32))
	}
	if spec.Connection == nil {
		return problems
	}
	if _, ok := socketBuffer(spec.Connection); !ok {
		problems = append(problems, feature.Invalid("connection.socketBufferLimit",
			"%s is out of range: write a number of bytes from 1 to %d, such as 64Ki", spec.Connection.SocketBufferLimit, math.MaxInt32))
	}
	if spec.Connection.ConnectionLimit == nil {
		return problems
	}
	const field = "connection.connectionLimit"
	limit := spec.Connection.ConnectionLimit
	if limit.Value != nil && *limit.Value < 1 {
		problems = append(problems, feature.Invalid(field+".value", "%d is out of range: write a number above 0", *limit.Value))
	}
	if limit.CloseDelay != nil && limit.Value == nil {
		problems = append(problems, feature.Invalid(field+".closeDelay",
			"%q is about connections beyond value: write value, or remove closeDelay", *limit.CloseDelay))
	}
	problems = append(problems, feature.CheckDuration(field+".closeDelay", limit.CloseDelay)...)
	problems = append(problems, feature.CheckPositive(field+".maxConnectionDuration", limit.MaxConnectionDuration, "no limit")...)
	return append(problems, feature.CheckDuration(field+".maxStreamDuration", limit.MaxStreamDuration)...)
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	held, _ := bufferLimit(spec)
	l.Socket.PerConnectionBufferLimitBytes = wrapperspb.UInt32(held)
	if spec.Connection == nil {
		return
	}
	if most := spec.Connection.MaxAcceptPerSocketEvent; most != nil && *most > 0 {
		l.Socket.MaxConnectionsToAcceptPerSocketEvent = wrapperspb.UInt32(*most)
	}
	if size, ok := socketBuffer(spec.Connection); ok && size > 0 {
		l.Socket.SocketOptions = append(l.Socket.SocketOptions, buffer("SO_SNDBUF", sendBuffer, size),
			buffer("SO_RCVBUF", receiveBuffer, size))
	}
	limit := spec.Connection.ConnectionLimit
	if limit == nil || len(check(spec)) > 0 {
		return
	}
	if limit.Value != nil {
		l.Chain.Filters = append(l.Chain.Filters, &listenerv3.Filter{
			Name: "envoy.filters.network.connection_limit",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: feature.Any(&limitv3.ConnectionLimit{
				StatPrefix: "clients", MaxConnections: wrapperspb.UInt64(uint64(*limit.Value)),
				Delay: feature.Duration(limit.CloseDelay),
			})},
		})
	}
	common := l.Manager.CommonHttpProtocolOptions
	if longest := feature.Duration(limit.MaxConnectionDuration); longest != nil {
		common.MaxConnectionDuration, l.Proxy.MaxDownstreamConnectionDuration = longest, longest
		l.Manager.Http1SafeMaxConnectionDuration = spec.HTTP1 == nil || !spec.HTTP1.DisableSafeMaxConnectionDuration
	}
	if most := limit.MaxRequestsPerConnection; most != nil {
		common.MaxRequestsPerConnection = wrapperspb.UInt32(*most)
	}
	common.MaxStreamDuration = feature.Duration(limit.MaxStreamDuration)
}

// socketBuffer is the size in bytes, 0 for that of the kernel, and whether the kernel has that.
func socketBuffer(c *v1alpha1.ClientConnection) (size int64, ok bool) {
	if c.SocketBufferLimit == nil {
		return 0, true
	}
	size = c.SocketBufferLimit.Value()
	return size, size >= 1 && size <= math.MaxInt32
}

func buffer(name string, option, size int64) *corev3.SocketOption {
	return &corev3.SocketOption{
		Description: name, Level: levelSocket, Name: option, Value: &corev3.SocketOption_IntValue{IntValue: size},
	}
}

func effective(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
	if spec.Connection == nil {
		return
	}
	if size, ok := bufferLimit(spec); ok && spec.Connection.BufferLimit != nil {
		e.OfClients().BufferLimit = new(int64(size))
	}
	limit := spec.Connection.ConnectionLimit
	if limit == nil {
		return
	}
	if limit.Value != nil {
		e.OfClients().MaxConnections = new(*limit.Value)
	}
	if longest := feature.Duration(limit.MaxConnectionDuration); longest != nil {
		e.OfClients().Limits().Connection = feature.EffectiveDuration(longest)
	}
	if longest := feature.Duration(limit.MaxStreamDuration); longest != nil {
		e.OfClients().Limits().Stream = feature.EffectiveDuration(longest)
	}
}

// bufferLimit is the limit in bytes, and whether Envoy has that.
func bufferLimit(spec *v1alpha1.ClientTrafficPolicySpec) (limit uint32, ok bool) {
	if spec.Connection == nil || spec.Connection.BufferLimit == nil {
		return defaultBuffer, true
	}
	written := spec.Connection.BufferLimit.Value()
	if written < 1 || written > math.MaxUint32 {
		return defaultBuffer, false
	}
	return uint32(written), true
}
