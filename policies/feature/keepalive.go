package feature

import (
	"math"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// Limits of Linux (MAX_TCP_KEEPCNT, MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL). Beyond them no connection could be opened.
const (
	maxProbes  = 127
	maxSeconds = 32767
)

// CheckKeepalive finds what is wrong with the questions on idle connections.
func CheckKeepalive(field string, k *v1alpha1.TCPKeepalive) []verdict.Problem {
	if k == nil {
		return nil
	}
	var problems []verdict.Problem
	if k.Probes != nil && (*k.Probes < 1 || *k.Probes > maxProbes) {
		problems = append(problems, Invalid(field+".probes", "%d is out of range: write a number from 1 to %d",
			*k.Probes, maxProbes))
	}
	return slices.Concat(problems, checkSeconds(field+".idleTime", k.IdleTime, "2h"),
		checkSeconds(field+".interval", k.Interval, "75s"))
}

func checkSeconds(field string, written *gwapiv1.Duration, byDefault string) []verdict.Problem {
	problems := CheckPositive(field, written, byDefault)
	if s := seconds(written); len(problems) == 0 && s != nil && s.Value > maxSeconds {
		return []verdict.Problem{Invalid(field, "%q is too long: write a duration of at most %ds", *written,
			maxSeconds)}
	}
	return problems
}

// Keepalive is Envoy's for the questions on idle connections, nil for none.
func Keepalive(k *v1alpha1.TCPKeepalive) *corev3.TcpKeepalive {
	if k == nil {
		return nil
	}
	out := &corev3.TcpKeepalive{KeepaliveTime: seconds(k.IdleTime), KeepaliveInterval: seconds(k.Interval)}
	if k.Probes != nil {
		out.KeepaliveProbes = wrapperspb.UInt32(*k.Probes)
	}
	return out
}

// seconds is nil for a duration that is not set or does not parse. Parts of a second are rounded up.
func seconds(written *gwapiv1.Duration) *wrapperspb.UInt32Value {
	d := Duration(written)
	if d == nil {
		return nil
	}
	return wrapperspb.UInt32(uint32(math.Ceil(d.AsDuration().Seconds())))
}
