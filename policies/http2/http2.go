// Package http2 is the http2 part of ClusterSettings: how HTTP/2 is spoken to endpoints.
package http2

import (
	"math"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/api/resource"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the http2 part.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:  "http2",
	Check: func(spec *v1alpha1.ClusterSettings) []verdict.Problem { return Check("http2", spec.HTTP2) },
	Cluster: func(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
		if spec.HTTP2 == nil {
			return
		}
		if options := Options(spec.HTTP2); proto.Size(options) > 0 {
			upstream.HTTP2 = options
		}
	},
}

// Limits of HTTP/2 (RFC 9113, section 6.9), and of Envoy for windows and streams.
const (
	minWindow  = 65535
	maxStreams = math.MaxInt32
	maxJitter  = 100
)

var actions = map[v1alpha1.InvalidMessageAction]bool{
	v1alpha1.InvalidMessageActionTerminateConnection: false,
	v1alpha1.InvalidMessageActionTerminateStream:     true,
}

// Check finds what is wrong with settings of HTTP/2 at a field.
func Check(field string, s *v1alpha1.HTTP2Settings) []verdict.Problem {
	if s == nil {
		return nil
	}
	problems := slices.Concat(
		checkWindow(field+".initialStreamWindowSize", s.InitialStreamWindowSize),
		checkWindow(field+".initialConnectionWindowSize", s.InitialConnectionWindowSize),
	)
	if n := s.MaxConcurrentStreams; n != nil && (*n < 1 || *n > maxStreams) {
		problems = append(problems, feature.Invalid(field+".maxConcurrentStreams",
			"%d is out of range: write a number from 1 to %d", *n, maxStreams))
	}
	if a := s.OnInvalidMessage; a != nil {
		problems = append(problems, feature.CheckChoice(field+".onInvalidMessage", *a, actions)...)
	}
	return append(problems, checkKeepalive(field+".connectionKeepalive", s.ConnectionKeepalive)...)
}

func checkWindow(field string, written *resource.Quantity) []verdict.Problem {
	if written == nil || window(written) != nil {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field, "%s is out of range: write a number of bytes from %d to %d, such as 64Ki",
		written, minWindow, math.MaxInt32)}
}

func checkKeepalive(field string, k *v1alpha1.HTTP2ConnectionKeepalive) []verdict.Problem {
	if k == nil {
		return nil
	}
	problems := slices.Concat(
		feature.CheckPositive(field+".interval", k.Interval, "no questions at intervals"),
		feature.CheckPositive(field+".timeout", k.Timeout, "the default"),
		feature.CheckPositive(field+".idleInterval", k.IdleInterval, "no questions before requests"),
	)
	if k.IntervalJitter != nil && *k.IntervalJitter > maxJitter {
		problems = append(problems, feature.Invalid(field+".intervalJitter", "%d is out of range: write a number from 0 to %d",
			*k.IntervalJitter, maxJitter))
	}
	if len(problems) == 0 && k.Interval != nil && k.Timeout != nil &&
		feature.Duration(k.Timeout).AsDuration() >= feature.Duration(k.Interval).AsDuration() {
		problems = append(problems, feature.Invalid(field+".timeout",
			"%q is not shorter than interval %q: shorten it or lengthen the interval", *k.Timeout, *k.Interval))
	}
	return problems
}

// Options are the options of Envoy that settings of HTTP/2 set; what they do not say is absent.
func Options(s *v1alpha1.HTTP2Settings) *corev3.Http2ProtocolOptions {
	out := &corev3.Http2ProtocolOptions{
		InitialStreamWindowSize:     window(s.InitialStreamWindowSize),
		InitialConnectionWindowSize: window(s.InitialConnectionWindowSize),
		ConnectionKeepalive:         keepalive(s.ConnectionKeepalive),
	}
	if n := s.MaxConcurrentStreams; n != nil {
		out.MaxConcurrentStreams = wrapperspb.UInt32(*n)
	}
	if s.OnInvalidMessage != nil {
		out.OverrideStreamErrorOnInvalidHttpMessage = wrapperspb.Bool(actions[*s.OnInvalidMessage])
	}
	return out
}

// defaultTimeout is how long an answer may take if the settings do not say. It is at most half of the interval.
const defaultTimeout = 5 * time.Second

func keepalive(k *v1alpha1.HTTP2ConnectionKeepalive) *corev3.KeepaliveSettings {
	if k == nil || k.Interval == nil && k.IdleInterval == nil {
		return nil
	}
	out := &corev3.KeepaliveSettings{
		Interval: feature.Duration(k.Interval), Timeout: feature.Duration(k.Timeout),
		ConnectionIdleInterval: feature.Duration(k.IdleInterval),
	}
	if out.Timeout == nil {
		out.Timeout = durationpb.New(defaultTimeout)
		if half := out.Interval.AsDuration() / 2; half > 0 {
			out.Timeout = durationpb.New(min(defaultTimeout, half))
		}
	}
	if k.IntervalJitter != nil {
		out.IntervalJitter = &typev3.Percent{Value: float64(*k.IntervalJitter)}
	}
	return out
}

// window is nil for a window that is not set or out of range.
func window(written *resource.Quantity) *wrapperspb.UInt32Value {
	if written == nil || written.Value() < minWindow || written.Value() > math.MaxInt32 {
		return nil
	}
	return wrapperspb.UInt32(uint32(written.Value()))
}
