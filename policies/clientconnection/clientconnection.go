// Package clientconnection is the connection part of a ClientTrafficPolicy: how connections of clients are handled.
package clientconnection

import (
	"math"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the connection part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:     "connection",
	Check:    check,
	Listener: listener,
	Effective: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if limit, ok := bufferLimit(spec); ok && spec.Connection != nil && spec.Connection.BufferLimit != nil {
			e.OfClients().BufferLimit = new(int64(limit))
		}
	},
}

// defaultBuffer is how many bytes of a connection are held in each direction by default.
const defaultBuffer = 32 * 1024

func check(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
	if _, ok := bufferLimit(spec); ok {
		return nil
	}
	return []verdict.Problem{feature.Invalid("connection.bufferLimit",
		"%s is out of range: write a number of bytes from 1 to %d, such as 64Ki",
		spec.Connection.BufferLimit, math.MaxUint32)}
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	limit, _ := bufferLimit(spec)
	l.Socket.PerConnectionBufferLimitBytes = wrapperspb.UInt32(limit)
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
