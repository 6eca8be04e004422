// Package connection is the connection part of ClusterSettings: how connections to endpoints are handled.
package connection

import (
	"math"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/api/resource"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the connection part.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:    "connection",
	Check:   check,
	Cluster: cluster,
	Effective: func(spec *v1alpha1.ClusterSettings, _ feature.Have, e *feature.Effective) {
		if limit := size(of(spec).BufferLimit, math.MaxUint32); limit > 0 {
			e.BackendBufferLimit = &limit
		}
	},
}

// The limits of both percentages of preconnect, which are Envoy's.
const (
	minPercent = 100
	maxPercent = 300
	percent    = 100
)

// Options of sockets on Linux (SOL_SOCKET, SO_SNDBUF and SO_RCVBUF).
const (
	levelSocket   = 1
	sendBuffer    = 7
	receiveBuffer = 8
)

func of(spec *v1alpha1.ClusterSettings) v1alpha1.BackendConnection {
	if spec.Connection == nil {
		return v1alpha1.BackendConnection{}
	}
	return *spec.Connection
}

func check(spec *v1alpha1.ClusterSettings) []verdict.Problem {
	c := of(spec)
	return slices.Concat(
		checkSize("connection.bufferLimit", c.BufferLimit, math.MaxUint32),
		checkSize("connection.socketBufferLimit", c.SocketBufferLimit, math.MaxInt32),
		checkPreconnect("connection.preconnect", c.Preconnect, spec.LoadBalancer),
	)
}

func checkSize(field string, written *resource.Quantity, most int64) []verdict.Problem {
	if written == nil || size(written, most) > 0 {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field, "%s is out of range: write a number of bytes from 1 to %d, such as 64Ki",
		written, most)}
}

func checkPreconnect(field string, p *v1alpha1.PreconnectPolicy, lb *v1alpha1.LoadBalancer) (problems []verdict.Problem) {
	if p == nil {
		return nil
	}
	problems = append(checkPercent(field+".perEndpointPercent", p.PerEndpointPercent),
		checkPercent(field+".predictivePercent", p.PredictivePercent)...)
	if p.PredictivePercent == nil {
		return problems
	}
	if lb == nil || lb.Type != v1alpha1.RandomLoadBalancerType && lb.Type != v1alpha1.RoundRobinLoadBalancerType {
		problems = append(problems, feature.Invalid(field+".predictivePercent",
			"predictivePercent works only with loadBalancer.type Random or RoundRobin: remove it or change the type"))
	}
	return problems
}

func checkPercent(field string, n *uint32) []verdict.Problem {
	if n == nil || *n >= minPercent && *n <= maxPercent {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field, "%d is out of range: write a number from %d to %d", *n, minPercent,
		maxPercent)}
}

func cluster(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
	c := of(spec)
	if limit := size(c.BufferLimit, math.MaxUint32); limit > 0 {
		upstream.Cluster.PerConnectionBufferLimitBytes = wrapperspb.UInt32(uint32(limit))
	}
	if limit := size(c.SocketBufferLimit, math.MaxInt32); limit > 0 {
		upstream.Cluster.UpstreamBindConfig = &corev3.BindConfig{SocketOptions: []*corev3.SocketOption{
			bytes("SO_SNDBUF", sendBuffer, limit), bytes("SO_RCVBUF", receiveBuffer, limit),
		}}
	}
	if p := c.Preconnect; p != nil && len(checkPreconnect("", p, spec.LoadBalancer)) == 0 {
		upstream.Cluster.PreconnectPolicy = &clusterv3.Cluster_PreconnectPolicy{
			PerUpstreamPreconnectRatio: ratio(p.PerEndpointPercent), PredictivePreconnectRatio: ratio(p.PredictivePercent),
		}
	}
}

// bytes is an option of sockets that is a number of bytes.
func bytes(name string, option, n int64) *corev3.SocketOption {
	return &corev3.SocketOption{
		Description: name, Level: levelSocket, Name: option, Value: &corev3.SocketOption_IntValue{IntValue: n},
		State: corev3.SocketOption_STATE_PREBIND,
	}
}

func ratio(n *uint32) *wrapperspb.DoubleValue {
	if n == nil {
		return nil
	}
	return wrapperspb.Double(float64(*n) / percent)
}

// size is a number of bytes, 0 if it is not set or out of range.
func size(written *resource.Quantity, most int64) int64 {
	if written == nil || written.Value() < 1 || written.Value() > most {
		return 0
	}
	return written.Value()
}
