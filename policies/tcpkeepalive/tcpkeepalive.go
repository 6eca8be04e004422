// Package tcpkeepalive is the tcpKeepalive part of ClusterSettings: how connections to backends are found to be dead.
package tcpkeepalive

import (
	"math"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the tcpKeepalive part.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:  "tcpKeepalive",
	Check: check,
	Cluster: func(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
		if spec.TCPKeepalive != nil {
			upstream.Cluster.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: keepalive(spec.TCPKeepalive)}
		}
	},
}

// Limits of Linux (MAX_TCP_KEEPCNT, MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL). Beyond them no connection could be opened.
const (
	maxProbes  = 127
	maxSeconds = 32767
)

func check(spec *v1alpha1.ClusterSettings) []verdict.Problem {
	k := spec.TCPKeepalive
	if k == nil {
		return nil
	}
	var problems []verdict.Problem
	if k.Probes != nil && (*k.Probes < 1 || *k.Probes > maxProbes) {
		problems = append(problems, feature.Invalid("tcpKeepalive.probes", "%d is out of range: write a number from 1 to %d",
			*k.Probes, maxProbes))
	}
	return slices.Concat(problems, checkTime("tcpKeepalive.idleTime", k.IdleTime, "2h"),
		checkTime("tcpKeepalive.interval", k.Interval, "75s"))
}

func checkTime(field string, written *gwapiv1.Duration, byDefault string) []verdict.Problem {
	problems := feature.CheckPositive(field, written, byDefault)
	if s := seconds(written); len(problems) == 0 && s != nil && s.Value > maxSeconds {
		return []verdict.Problem{feature.Invalid(field, "%q is too long: write a duration of at most %ds", *written,
			maxSeconds)}
	}
	return problems
}

func keepalive(k *v1alpha1.TCPKeepalive) *corev3.TcpKeepalive {
	out := &corev3.TcpKeepalive{KeepaliveTime: seconds(k.IdleTime), KeepaliveInterval: seconds(k.Interval)}
	if k.Probes != nil {
		out.KeepaliveProbes = wrapperspb.UInt32(*k.Probes)
	}
	return out
}

// seconds is nil for a duration that is not set or does not parse. Parts of a second are rounded up.
func seconds(written *gwapiv1.Duration) *wrapperspb.UInt32Value {
	d := feature.Duration(written)
	if d == nil {
		return nil
	}
	return wrapperspb.UInt32(uint32(math.Ceil(d.AsDuration().Seconds())))
}
