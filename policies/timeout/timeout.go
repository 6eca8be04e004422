// Package timeout is the timeout part of a BackendTrafficPolicy, and the timeouts of rules: how long connections and
// requests to backends may take.
package timeout

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the timeout part. The timeouts of an HTTPRoute win: they are set on the route afterwards.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:    "timeout",
	Check:   check,
	Cluster: cluster,
	Route:   route,

	Effective: effective,
}

const (
	// shortConnect is the default limit for establishing a connection to an endpoint, if another endpoint is tried
	// after it. The kernel sends a lost SYN again after 1s, so one SYN may be lost.
	shortConnect = 1500 * time.Millisecond
	// onlyConnect is the limit if only one connection is tried.
	onlyConnect = 10 * time.Second
	// minIdle is the minimum idle time of a stream with a request timeout: Envoy's 5m would end longer requests early.
	minIdle = time.Hour
)

func check(spec *v1alpha1.ClusterSettings) []verdict.Problem {
	tcp, http := parts(spec)
	return slices.Concat(
		feature.CheckPositive("timeout.tcp.connectTimeout", tcp.ConnectTimeout, "the default"),
		feature.CheckDuration("timeout.http.connectionIdleTimeout", http.ConnectionIdleTimeout),
		feature.CheckDuration("timeout.http.maxConnectionDuration", http.MaxConnectionDuration),
		feature.CheckDuration("timeout.http.requestTimeout", http.RequestTimeout),
		feature.CheckDuration("timeout.http.maxStreamDuration", http.MaxStreamDuration),
		feature.CheckDuration("timeout.http.streamIdleTimeout", http.StreamIdleTimeout),
	)
}

func cluster(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
	tcp, http := parts(spec)
	upstream.Cluster.ConnectTimeout = feature.Duration(tcp.ConnectTimeout)
	if upstream.Cluster.ConnectTimeout == nil {
		upstream.Cluster.ConnectTimeout = durationpb.New(defaultConnect(spec, upstream))
	}
	options := &corev3.HttpProtocolOptions{
		IdleTimeout:           feature.Duration(http.ConnectionIdleTimeout),
		MaxConnectionDuration: limit(http.MaxConnectionDuration),
		MaxStreamDuration:     limit(http.MaxStreamDuration),
	}
	if proto.Size(options) == 0 {
		return
	}
	if upstream.HTTP.CommonHttpProtocolOptions == nil {
		upstream.HTTP.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{}
	}
	proto.Merge(upstream.HTTP.CommonHttpProtocolOptions, options)
}

func defaultConnect(spec *v1alpha1.ClusterSettings, upstream *feature.Upstream) time.Duration {
	if upstream.Once && spec.Retry == nil || spec.Retry.Off() {
		return onlyConnect
	}
	return shortConnect
}

// limit is a duration that Envoy treats as a limit even if it is zero. In a policy 0s means no limit.
func limit(d *gwapiv1.Duration) *durationpb.Duration {
	if length := feature.Duration(d); length.AsDuration() > 0 {
		return length
	}
	return nil
}

func route(spec *v1alpha1.ClusterSettings, _ feature.Have, route *feature.Route) {
	action := route.GetRoute()
	if action == nil {
		return
	}
	_, http := parts(spec)
	if request := feature.Duration(http.RequestTimeout); request != nil {
		action.Timeout = request
	}
	if idle := feature.Duration(http.StreamIdleTimeout); idle != nil {
		action.IdleTimeout = idle
	}
	if longest := feature.Duration(http.MaxStreamDuration); longest != nil {
		action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: longest}
	}
	withRequestTimeout(action)
}

func effective(spec *v1alpha1.ClusterSettings, _ feature.Have, e *feature.Effective) {
	tcp, http := parts(spec)
	told := feature.Timeouts{
		Request:               feature.EffectiveDuration(feature.Duration(http.RequestTimeout)),
		StreamIdle:            feature.EffectiveDuration(feature.Duration(http.StreamIdleTimeout)),
		MaxStreamDuration:     feature.EffectiveDuration(feature.Duration(http.MaxStreamDuration)),
		Connect:               feature.EffectiveDuration(feature.Duration(tcp.ConnectTimeout)),
		ConnectionIdle:        feature.EffectiveDuration(feature.Duration(http.ConnectionIdleTimeout)),
		MaxConnectionDuration: feature.EffectiveDuration(feature.Duration(http.MaxConnectionDuration)),
	}
	if told != (feature.Timeouts{}) {
		e.Timeouts = &told
	}
}

// settle makes the timeouts of a route work together, those of policies and of the rule.
//
// A route with a request timeout but without an idle timeout gets an idle timeout that does not end the request early:
// the request timeout itself, but at least 1h, and none if the request timeout is 0s. If the listener has an idle
// timeout of its own, that holds.
func settle(_ *gwapiv1.HTTPRouteRule, route *feature.Route) {
	action := route.Forward()
	withRequestTimeout(action)
	if action.GetTimeout() == nil || action.IdleTimeout != nil || route.EndsIdle {
		return
	}
	idle := action.Timeout.AsDuration()
	if idle > 0 {
		idle = max(idle, minIdle)
	}
	action.IdleTimeout = durationpb.New(idle)
}

// withRequestTimeout removes the route's longest stream duration if there is a request timeout, because Envoy would
// then ignore the timeout. The cluster limits the duration of streams in any case.
func withRequestTimeout(action *routev3.RouteAction) {
	if action.GetTimeout() != nil {
		action.MaxStreamDuration = nil
	}
}

// parts returns both halves of the spec, empty if they are not set.
func parts(spec *v1alpha1.ClusterSettings) (tcp v1alpha1.TCPTimeout, http v1alpha1.HTTPTimeout) {
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
