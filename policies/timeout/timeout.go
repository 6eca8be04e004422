// Package timeout is the timeout part of a BackendTrafficPolicy: how long connections and requests to backends may take.
package timeout

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the timeout part. The timeouts of an HTTPRoute win over it: they are set on the route afterwards.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:    "timeout",
	Check:   check,
	Cluster: cluster,
	Route:   route,
}

const (
	// defaultConnect is how long a connection to an endpoint may take to set up if no policy says.
	defaultConnect = 10 * time.Second
	// minIdle is the least idle time of a stream whose request timeout is set: Envoy's 5m would cut longer requests short.
	minIdle = time.Hour
)

func check(spec *v1alpha1.BackendTrafficPolicySpec) []verdict.Problem {
	tcp, http := parts(spec)
	return slices.Concat(
		feature.CheckPositive("spec.timeout.tcp.connectTimeout", tcp.ConnectTimeout, "10s"),
		feature.CheckDuration("spec.timeout.http.connectionIdleTimeout", http.ConnectionIdleTimeout),
		feature.CheckDuration("spec.timeout.http.maxConnectionDuration", http.MaxConnectionDuration),
		feature.CheckDuration("spec.timeout.http.requestTimeout", http.RequestTimeout),
		feature.CheckDuration("spec.timeout.http.maxStreamDuration", http.MaxStreamDuration),
		feature.CheckDuration("spec.timeout.http.streamIdleTimeout", http.StreamIdleTimeout),
	)
}

func cluster(spec *v1alpha1.BackendTrafficPolicySpec, upstream *feature.Upstream) {
	tcp, http := parts(spec)
	upstream.Cluster.ConnectTimeout = feature.Duration(tcp.ConnectTimeout)
	if upstream.Cluster.ConnectTimeout == nil {
		upstream.Cluster.ConnectTimeout = durationpb.New(defaultConnect)
	}
	idle, longest := feature.Duration(http.ConnectionIdleTimeout), feature.Duration(http.MaxConnectionDuration)
	if longest.AsDuration() == 0 {
		longest = nil // No limit, like the other timeouts of 0s; Envoy has no such value.
	}
	if idle == nil && longest == nil {
		return
	}
	if upstream.HTTP.CommonHttpProtocolOptions == nil {
		upstream.HTTP.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{}
	}
	upstream.HTTP.CommonHttpProtocolOptions.IdleTimeout = idle
	upstream.HTTP.CommonHttpProtocolOptions.MaxConnectionDuration = longest
}

func route(spec *v1alpha1.BackendTrafficPolicySpec, _ string, route *routev3.Route) {
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
}

// SettleIdle gives a route that has a request timeout, but no idle timeout, one that does not cut the request short: the request
// timeout itself, at least 1h, and none if the request timeout is 0s. It is to be called when the policy and the HTTPRoute have
// both had their say.
func SettleIdle(action *routev3.RouteAction) {
	if action.GetTimeout() == nil || action.IdleTimeout != nil {
		return
	}
	idle := action.Timeout.AsDuration()
	if idle > 0 {
		idle = max(idle, minIdle)
	}
	action.IdleTimeout = durationpb.New(idle)
}

// parts are both halves of the spec, empty where they are not set.
func parts(spec *v1alpha1.BackendTrafficPolicySpec) (tcp v1alpha1.TCPTimeout, http v1alpha1.HTTPTimeout) {
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
