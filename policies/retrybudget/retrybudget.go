// Package retrybudget is XBackendTrafficPolicy of Gateway API's experimental channel: it limits how many of the
// requests to a backend may be retries.
package retrybudget

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Group and Kind identify the kind.
const (
	Group = gwapixv1alpha1.GroupName
	Kind  = "XBackendTrafficPolicy"
)

// Defaults of the fields, as the API states them.
const (
	defaultPercent  = 20
	defaultInterval = 10 * time.Second
	defaultCount    = 10
	defaultPer      = time.Second
)

// longest is the longest interval that the API allows.
const longest = time.Hour

// Check reports what prevents the policy from taking effect, except for its targets.
func Check(p *gwapixv1alpha1.XBackendTrafficPolicy) []verdict.Problem {
	var problems []verdict.Problem
	if p.Spec.SessionPersistence != nil {
		problems = append(problems, verdict.Problem{
			Field: "spec.sessionPersistence", Reason: string(gwapiv1.PolicyReasonInvalid), Weight: verdict.Unresolved,
			Message: "sessions are not kept by this kind, so the policy has no effect: remove the field, and write sessionPersistence of the routes' rules",
		})
	}
	if p.Spec.RetryConstraint == nil {
		return problems
	}
	if b := p.Spec.RetryConstraint.Budget; b != nil {
		if b.Percent != nil && (*b.Percent < 0 || *b.Percent > 100) {
			problems = append(problems, feature.Invalid("spec.retryConstraint.budget.percent",
				"%d is not a percentage: write a number from 0 to 100", *b.Percent))
		}
		problems = append(problems, checkInterval("spec.retryConstraint.budget.interval", b.Interval, time.Second)...)
	}
	if m := p.Spec.RetryConstraint.MinRetryRate; m != nil {
		if m.Count != nil && *m.Count < 1 {
			problems = append(problems, feature.Invalid("spec.retryConstraint.minRetryRate.count",
				"%d is too few: write a number of retries above 0", *m.Count))
		}
		problems = append(problems, checkInterval("spec.retryConstraint.minRetryRate.interval", m.Interval,
			time.Millisecond)...)
	}
	return problems
}

func checkInterval(field string, written *gwapiv1.Duration, shortest time.Duration) []verdict.Problem {
	if problems := feature.CheckDuration(field, written); len(problems) > 0 || written == nil {
		return problems
	}
	if d := feature.Duration(written).AsDuration(); d < shortest || d > longest {
		return []verdict.Problem{feature.Invalid(field, "%q is too short or too long: write a duration from %s to 1h",
			*written, shortest)}
	}
	return nil
}

// Budget is the limit that the policy sets for retries, nil if it sets none. The policy must have passed Check.
//
// Envoy counts the requests that begin within the interval, as the API says. Envoy does not limit the rate of retries
// but the number at the same time. This becomes the number of retries that begin in a second at the rate, so that the
// rate is reached if retries last a second or less.
func Budget(p *gwapixv1alpha1.XBackendTrafficPolicy) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	c := p.Spec.RetryConstraint
	if c == nil {
		return nil
	}
	percent, interval, count, per := defaultPercent, defaultInterval, defaultCount, defaultPer
	if b := c.Budget; b != nil {
		set(&percent, b.Percent)
		setDuration(&interval, b.Interval)
	}
	if m := c.MinRetryRate; m != nil {
		set(&count, m.Count)
		setDuration(&per, m.Interval)
	}
	atOnce := (time.Duration(count)*time.Second + per - 1) / per
	return &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
		BudgetPercent: &typev3.Percent{Value: float64(percent)}, BudgetInterval: durationpb.New(interval),
		MinRetryConcurrency: wrapperspb.UInt32(uint32(atOnce)),
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func setDuration(to *time.Duration, written *gwapiv1.Duration) {
	if d := feature.Duration(written); d != nil {
		*to = d.AsDuration()
	}
}
