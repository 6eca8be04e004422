// Package retry is the retry part of a BackendTrafficPolicy: which failed requests are sent again, how often and how
// soon.
package retry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the retry part. The retry of an HTTPRoute rule wins: it is set on the route afterwards.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:  "retry",
	Check: check,
	Route: route,
	Effective: func(spec *v1alpha1.ClusterSettings, _ feature.Have, e *feature.Effective) {
		if spec.Retry == nil {
			return
		}
		var attempt *gwapiv1.Duration
		if per := spec.Retry.PerRetry; per != nil {
			attempt = per.Timeout
		}
		policy := &routev3.RetryPolicy{NumRetries: retries(spec.Retry), PerTryTimeout: feature.Duration(attempt)}
		_, policy.RetriableStatusCodes = retryOn(spec.Retry.RetryOn)
		tell(policy, e)
	},
	Connection: func(spec *v1alpha1.ClusterSettings, _ feature.Have, connection *feature.Connection) {
		if spec.Retry != nil {
			connection.Retries = new(retries(spec.Retry).GetValue())
		}
	},
}

// Defaults of the fields, as the API states them.
const (
	defaultRetries = 2
	defaultCode    = 503
)

var defaultTriggers = []v1alpha1.TriggerEnum{
	v1alpha1.ConnectFailure, v1alpha1.RefusedStream, v1alpha1.Unavailable, v1alpha1.Cancelled,
	v1alpha1.RetriableStatusCodes,
}

// hostAttempts is how often Envoy tries to choose an endpoint that was not tried before. Of two endpoints it chooses
// the same one as before with a chance of one half each time: after 5 attempts one retry in 64 would be lost.
const hostAttempts = 20

func check(spec *v1alpha1.ClusterSettings) []verdict.Problem {
	if spec.Retry == nil {
		return nil
	}
	var problems []verdict.Problem
	if n := spec.Retry.NumAttemptsPerPriority; n != nil && *n < 1 {
		problems = append(problems, feature.Invalid("retry.numAttemptsPerPriority",
			"%d attempts are too few: write 1 or more, or leave the field out", *n))
	}
	problems = append(problems, checkRetryOn(spec.Retry.RetryOn)...)
	if per := spec.Retry.PerRetry; per != nil {
		problems = append(problems, feature.CheckDuration("retry.perRetry.timeout", per.Timeout)...)
		problems = append(problems, checkBackOff(per.BackOff)...)
	}
	return problems
}

func checkRetryOn(on *v1alpha1.RetryOn) []verdict.Problem {
	if on == nil {
		return nil
	}
	var problems []verdict.Problem
	for i, code := range on.HTTPStatusCodes {
		if code < 100 || code > 599 {
			problems = append(problems, feature.Invalid(fmt.Sprintf("retry.retryOn.httpStatusCodes[%d]", i),
				"%d is not an HTTP status code: write one from 100 to 599", code))
		}
	}
	return problems
}

// checkBackOff checks Envoy's rules: no interval is zero, and the maximum is not less than the base.
func checkBackOff(backOff *v1alpha1.BackOffPolicy) []verdict.Problem {
	if backOff == nil {
		return nil
	}
	const base, longest = "retry.perRetry.backOff.baseInterval", "retry.perRetry.backOff.maxInterval"
	problems := slices.Concat(
		feature.CheckPositive(base, backOff.BaseInterval, defaultBase.String()),
		feature.CheckPositive(longest, backOff.MaxInterval, "ten times baseInterval"),
	)
	if len(problems) > 0 || backOff.MaxInterval == nil {
		return problems
	}
	from, to := baseInterval(backOff), feature.Duration(backOff.MaxInterval).AsDuration()
	if to >= from {
		return nil
	}
	if backOff.BaseInterval == nil {
		return []verdict.Problem{feature.Invalid(longest,
			"%q is less than the default baseInterval of %s: write at least that, or a shorter baseInterval",
			*backOff.MaxInterval, from)}
	}
	return []verdict.Problem{feature.Invalid(longest,
		"%q is less than baseInterval %q: write at least that, or a shorter baseInterval",
		*backOff.MaxInterval, *backOff.BaseInterval)}
}

func route(spec *v1alpha1.ClusterSettings, _ feature.Have, route *feature.Route) {
	action := route.GetRoute()
	if spec.Retry == nil || action == nil {
		return
	}
	policy := Elsewhere()
	policy.RetryOn, policy.RetriableStatusCodes = retryOn(spec.Retry.RetryOn)
	policy.NumRetries = retries(spec.Retry)
	if n := spec.Retry.NumAttemptsPerPriority; n != nil && *n > 0 {
		policy.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: feature.Any(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: *n}),
			},
		}
	}
	if per := spec.Retry.PerRetry; per != nil {
		policy.PerTryTimeout = feature.Duration(per.Timeout)
		policy.RetryBackOff = retryBackOff(per.BackOff)
	}
	action.RetryPolicy = policy
}

// tell says what a retry policy means. It replaces what was said before as a whole.
func tell(policy *routev3.RetryPolicy, e *feature.Effective) {
	e.Retries = &feature.Retries{Attempts: int64(policy.GetNumRetries().GetValue())}
	for _, code := range policy.RetriableStatusCodes {
		e.Retries.StatusCodes = append(e.Retries.StatusCodes, int64(code))
	}
	if e.Timeouts == nil && policy.PerTryTimeout != nil {
		e.Timeouts = &feature.Timeouts{}
	}
	if e.Timeouts != nil {
		e.Timeouts.Attempt = feature.EffectiveDuration(policy.PerTryTimeout)
	}
}

func retries(spec *v1alpha1.Retry) *wrapperspb.UInt32Value {
	if n := spec.NumRetries; n != nil {
		return wrapperspb.UInt32(uint32(max(*n, 0)))
	}
	return wrapperspb.UInt32(defaultRetries)
}

// Elsewhere is a retry policy with the default number of retries, which chooses an endpoint that was not tried before.
// The caller sets when to retry.
func Elsewhere() *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		NumRetries:                    wrapperspb.UInt32(defaultRetries),
		HostSelectionRetryMaxAttempts: hostAttempts,
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: feature.Any(&previoushostsv3.PreviousHostsPredicate{})},
		}},
	}
}

// Unreached is the retry policy of requests without a retry from a route or policy: requests that no endpoint received
// are tried at another one. No backend has processed them, so they are tried more often than others: most endpoints of
// a backend may disappear at once.
func Unreached() *routev3.RetryPolicy {
	policy := Elsewhere()
	policy.NumRetries = wrapperspb.UInt32(3)
	policy.RetryOn = join([]v1alpha1.TriggerEnum{
		v1alpha1.ConnectFailure, v1alpha1.RefusedStream,
		v1alpha1.ResetBeforeRequest,
	})
	return policy
}

// retryOn is the list of failures in Envoy's terms. The codes of a spec replace the default code even if the list is
// empty.
func retryOn(on *v1alpha1.RetryOn) (string, []uint32) {
	if on == nil {
		return join(defaultTriggers), []uint32{defaultCode}
	}
	named := on.Triggers
	if len(named) == 0 {
		named = defaultTriggers
	}
	var codes []uint32
	for _, code := range on.HTTPStatusCodes {
		if code > 0 {
			codes = append(codes, uint32(code))
		}
	}
	return join(named), codes
}

// retryBackOff returns nil if the spec sets nothing.
func retryBackOff(backOff *v1alpha1.BackOffPolicy) *routev3.RetryPolicy_RetryBackOff {
	if backOff == nil || backOff.BaseInterval == nil && backOff.MaxInterval == nil {
		return nil
	}
	return &routev3.RetryPolicy_RetryBackOff{
		BaseInterval: durationpb.New(baseInterval(backOff)),
		MaxInterval:  feature.Duration(backOff.MaxInterval),
	}
}

// defaultBase is Envoy's base of the back-off.
const defaultBase = 25 * time.Millisecond

func baseInterval(backOff *v1alpha1.BackOffPolicy) time.Duration {
	if base := feature.Duration(backOff.BaseInterval); base != nil {
		return base.AsDuration()
	}
	return defaultBase
}

func join(triggers []v1alpha1.TriggerEnum) string {
	words := make([]string, len(triggers))
	for i, trigger := range triggers {
		words[i] = string(trigger)
	}
	return strings.Join(words, ",")
}
