// Package healthcheck is the healthCheck part of ClusterSettings: how endpoints are found that should get no requests.
package healthcheck

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the healthCheck part.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:      "healthCheck",
	Check:     check,
	Cluster:   cluster,
	Effective: effective,
}

// hundred is the largest percentage.
const hundred = 100

func check(spec *v1alpha1.ClusterSettings) []verdict.Problem {
	h := spec.HealthCheck
	if h == nil {
		return nil
	}
	return slices.Concat(
		checkPercent("healthCheck.panicThreshold", h.PanicThreshold),
		checkPassive("healthCheck.passive", h.Passive),
		checkActive("healthCheck.active", h.Active),
	)
}

func checkPercent(field string, n *uint32) []verdict.Problem {
	if n == nil || *n <= hundred {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field, "%d is out of range: write a number from 0 to %d", *n, hundred)}
}

func checkPassive(field string, p *v1alpha1.PassiveHealthCheck) []verdict.Problem {
	if p == nil {
		return nil
	}
	problems := slices.Concat(
		feature.CheckPositive(field+".interval", p.Interval, defaultInterval),
		feature.CheckPositive(field+".baseEjectionTime", p.BaseEjectionTime, defaultEjection),
		checkPercent(field+".failurePercentageThreshold", p.FailurePercentageThreshold),
	)
	if n := p.MaxEjectionPercent; n != nil && (*n < 0 || *n > hundred) {
		problems = append(problems, feature.Invalid(field+".maxEjectionPercent",
			"%d is out of range: write a number from 0 to %d", *n, hundred))
	}
	return problems
}

// The defaults of Envoy Gateway's CRD.
const (
	defaultInterval   = "3s"
	defaultTimeout    = "1s"
	defaultEjection   = "30s"
	defaultFailures   = 5
	defaultMaxEjected = 10
	defaultUnhealthy  = 3
	defaultHealthy    = 1
)

func cluster(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
	h := spec.HealthCheck
	if h == nil {
		return
	}
	if n := h.PanicThreshold; n != nil && *n <= hundred {
		upstream.Cluster.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
			HealthyPanicThreshold: &typev3.Percent{Value: float64(*n)},
		}
	}
	if h.Passive != nil {
		upstream.Cluster.OutlierDetection = outliers(h.Passive)
	}
	if h.Active != nil {
		activate(h.Active, upstream)
	}
}

func outliers(p *v1alpha1.PassiveHealthCheck) *clusterv3.OutlierDetection {
	split := ptr.Deref(p.SplitExternalLocalOriginErrors, false)
	out := &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors: split,
		Interval:                       duration(p.Interval, defaultInterval),
		ConsecutiveLocalOriginFailure:  number(p.ConsecutiveLocalOriginFailures, defaultFailures),
		Consecutive_5Xx:                number(p.Consecutive5xxErrors, defaultFailures),
		BaseEjectionTime:               duration(p.BaseEjectionTime, defaultEjection),
		MaxEjectionPercent:             percentage(p.MaxEjectionPercent),
	}
	if ptr.Deref(p.AlwaysEjectOneEndpoint, false) {
		out.AlwaysEjectOneHost = wrapperspb.Bool(true)
	}
	if n := p.ConsecutiveGatewayErrors; n != nil {
		out.ConsecutiveGatewayFailure = wrapperspb.UInt32(*n)
		out.EnforcingConsecutiveGatewayFailure = wrapperspb.UInt32(hundred)
	}
	if n := p.FailurePercentageThreshold; n != nil && *n <= hundred {
		out.FailurePercentageThreshold = wrapperspb.UInt32(*n)
		out.EnforcingFailurePercentage = wrapperspb.UInt32(hundred)
		if split {
			out.EnforcingFailurePercentageLocalOrigin = wrapperspb.UInt32(hundred)
		}
	}
	return out
}

func percentage(n *int32) *wrapperspb.UInt32Value {
	if n == nil || *n < 0 || *n > hundred {
		return wrapperspb.UInt32(defaultMaxEjected)
	}
	return wrapperspb.UInt32(uint32(*n))
}

func number(n *uint32, otherwise uint32) *wrapperspb.UInt32Value {
	return wrapperspb.UInt32(ptr.Deref(n, otherwise))
}

// duration is a duration above 0s, or the default.
func duration(d *gwapiv1.Duration, otherwise gwapiv1.Duration) *durationpb.Duration {
	if length := feature.Duration(d); length.AsDuration() > 0 {
		return length
	}
	return feature.Duration(&otherwise)
}

func effective(spec *v1alpha1.ClusterSettings, _ feature.Have, e *feature.Effective) {
	h := spec.HealthCheck
	if h == nil {
		return
	}
	told := &feature.HealthCheck{Passive: h.Passive != nil}
	if h.Active != nil {
		told.Active = string(h.Active.Type)
	}
	if h.PanicThreshold != nil {
		told.PanicThreshold = new(int64(*h.PanicThreshold))
	}
	e.HealthCheck = told
}

// Warms returns how long a cluster with the health check may take, from the moment that it knows its endpoints, until
// it has asked each of them once. Until then Envoy does not use it.
func Warms(cluster *clusterv3.Cluster) time.Duration {
	if len(cluster.HealthChecks) == 0 {
		return 0
	}
	check := cluster.HealthChecks[0]
	return check.Timeout.AsDuration() + check.InitialJitter.AsDuration()
}

// Speak makes the health check of a cluster use HTTP/2 if requests do. A check of gRPC is left out if they do not,
// because Envoy has none over HTTP/1.1.
func Speak(cluster *clusterv3.Cluster, http2 bool) {
	if len(cluster.HealthChecks) == 0 {
		return
	}
	switch c := cluster.HealthChecks[0].HealthChecker.(type) {
	case *corev3.HealthCheck_HttpHealthCheck_:
		if http2 {
			c.HttpHealthCheck.CodecClientType = typev3.CodecClientType_HTTP2
		}
	case *corev3.HealthCheck_GrpcHealthCheck_:
		if !http2 {
			cluster.HealthChecks = nil
		}
	}
}
