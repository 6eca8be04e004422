// Package clienttimeout is the timeout part of a ClientTrafficPolicy: how long clients may take.
package clienttimeout

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the timeout part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:     "timeout",
	Check:    check,
	Listener: listener,

	Effective: effective,
}

// What a client may take its time for by default. The body of a request has no limit as a whole, since uploads and
// streams may be long; it ends when nothing comes for five minutes, which is Envoy's default (decision 027).
const (
	handshakeTime = 10 * time.Second
	headersTime   = 10 * time.Second
)

func check(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
	tcp, http := parts(spec)
	return slices.Concat(
		feature.CheckDuration("timeout.tcp.idleTimeout", tcp.IdleTimeout),
		feature.CheckDuration("timeout.tcp.tlsHandshakeTimeout", tcp.TLSHandshakeTimeout),
		feature.CheckDuration("timeout.tcp.connectionInspectionTimeout", tcp.ConnectionInspectionTimeout),
		feature.CheckDuration("timeout.http.requestReceivedTimeout", http.RequestReceivedTimeout),
		feature.CheckDuration("timeout.http.requestHeadersReceivedTimeout", http.RequestHeadersReceivedTimeout),
		feature.CheckDuration("timeout.http.idleTimeout", http.IdleTimeout),
		feature.CheckDuration("timeout.http.streamIdleTimeout", http.StreamIdleTimeout),
	)
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	tcp, http := parts(spec)
	l.Socket.ListenerFiltersTimeout = feature.Duration(tcp.ConnectionInspectionTimeout)
	l.Proxy.IdleTimeout = feature.Duration(tcp.IdleTimeout)
	if l.TLS != nil {
		l.Chain.TransportSocketConnectTimeout = cmp.Or(feature.Duration(tcp.TLSHandshakeTimeout),
			durationpb.New(handshakeTime))
	}
	l.Manager.RequestTimeout = feature.Duration(http.RequestReceivedTimeout)
	l.Manager.RequestHeadersTimeout = cmp.Or(feature.Duration(http.RequestHeadersReceivedTimeout),
		durationpb.New(headersTime))
	l.Manager.CommonHttpProtocolOptions.IdleTimeout = feature.Duration(http.IdleTimeout)
	l.Manager.StreamIdleTimeout = feature.Duration(http.StreamIdleTimeout)
}

func effective(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
	tcp, http := parts(spec)
	told := feature.ClientTimeouts{
		Handshake:  feature.EffectiveDuration(feature.Duration(tcp.TLSHandshakeTimeout)),
		Request:    feature.EffectiveDuration(feature.Duration(http.RequestReceivedTimeout)),
		Headers:    feature.EffectiveDuration(feature.Duration(http.RequestHeadersReceivedTimeout)),
		Idle:       feature.EffectiveDuration(feature.Duration(http.IdleTimeout)),
		TCPIdle:    feature.EffectiveDuration(feature.Duration(tcp.IdleTimeout)),
		StreamIdle: feature.EffectiveDuration(feature.Duration(http.StreamIdleTimeout)),
	}
	if told != (feature.ClientTimeouts{}) {
		*e.OfClients().Limits() = told
	}
}

// parts returns both halves of the spec, empty if they are not set.
func parts(spec *v1alpha1.ClientTrafficPolicySpec) (tcp v1alpha1.TCPClientTimeout, http v1alpha1.HTTPClientTimeout) {
	if spec.Timeout == nil {
		return tcp, http
	}
	if spec.Timeout.TCP != nil {
		tcp = *spec.Timeout.TCP
	}
	if spec.Timeout.HTTP != nil {
		http = *spec.Timeout.HTTP
	}
	return tcp, http
}
