package translator

import (
	"fmt"
	"math"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/retry"
	"gatehouse/policies/verdict"
)

// setTimeouts applies the rule's own timeouts, which win over those of a policy.
func setTimeouts(action *routev3.RouteAction, timeouts *gwapiv1.HTTPRouteTimeouts) {
	if timeouts == nil {
		return
	}
	request, hasRequest := duration(timeouts.Request)
	backend, hasBackend := duration(timeouts.BackendRequest)
	if hasRequest {
		action.Timeout = durationpb.New(request)
	}
	switch {
	case !hasBackend:
	case action.RetryPolicy != nil:
		action.RetryPolicy.PerTryTimeout = durationpb.New(backend)
		if action.Timeout == nil {
			action.Timeout = leaveTime(backend, action.RetryPolicy)
		}
	case !hasRequest || (backend > 0 && (request == 0 || backend < request)):
		action.Timeout = durationpb.New(backend)
	}
}

// leaveTime is nil if Envoy's own limit for the whole request leaves time for each attempt; else it is what all of them can take.
func leaveTime(attempt time.Duration, policy *routev3.RetryPolicy) *durationpb.Duration {
	const own, longest = 15 * time.Second, math.MaxInt32 * time.Second
	attempts := 1 + time.Duration(policy.GetNumRetries().GetValue())
	if attempt > longest/attempts {
		return durationpb.New(longest)
	}
	if all := attempt * attempts; all == 0 || all >= own {
		return durationpb.New(all)
	}
	return nil
}

// duration parses a Gateway API duration (GEP-2257), which is a subset of Go's.
func duration(d *gwapiv1.Duration) (time.Duration, bool) {
	if d == nil {
		return 0, false
	}
	parsed, err := time.ParseDuration(string(*d))
	return parsed, err == nil
}

// checkTimes finds durations that cannot be parsed.
func checkTimes(rule *gwapiv1.HTTPRouteRule, field string) []verdict.Problem {
	times := map[string]*gwapiv1.Duration{}
	if rule.Timeouts != nil {
		times["timeouts.request"], times["timeouts.backendRequest"] = rule.Timeouts.Request, rule.Timeouts.BackendRequest
	}
	if rule.Retry != nil {
		times["retry.backoff"] = rule.Retry.Backoff
	}
	var problems []verdict.Problem
	for path, d := range times {
		if _, ok := duration(d); d != nil && !ok {
			problems = append(problems, verdict.Problem{
				Field: field + "." + path, Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Invalid,
				Message: fmt.Sprintf("%q is no duration; write one such as 1m30s or 500ms", *d),
			})
		}
	}
	verdict.Sort(problems)
	return problems
}

// unprocessed is, in Envoy's terms, when a backend did not process a request: there was no connection, or it broke before the request was sent, or the
// backend refused the stream or answered gRPC's UNAVAILABLE (Gateway API, HTTPRouteRetry).
const unprocessed = "connect-failure,refused-stream,reset-before-request,unavailable"

// setRetry applies the rule's own retry, which wins over that of a policy. What may have been processed is tried again if its method is safe, see
// decision 045.
func setRetry(action *routev3.RouteAction, spec *gwapiv1.HTTPRouteRetry) {
	if spec == nil {
		return
	}
	policy := retry.Elsewhere()
	policy.RetryOn = unprocessed
	if len(spec.Codes) > 0 {
		policy.RetryOn += ",retriable-status-codes"
		for _, code := range spec.Codes {
			policy.RetriableStatusCodes = append(policy.RetriableStatusCodes, uint32(code))
		}
	}
	policy.NumRetries = wrapperspb.UInt32(uint32(min(max(*cmpOr(spec.Attempts, &defaultAttempts), 0), math.MaxInt32)))
	if backoff, ok := duration(spec.Backoff); ok && backoff > 0 {
		policy.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(backoff)}
	}
	action.RetryPolicy = policy
}

// defaultAttempts is the default of the API server, which the CRDs before version 1.7 of Gateway API do not have.
var defaultAttempts = 1

// retryCost is what a rule's own retry costs each route.
func retryCost(spec *gwapiv1.HTTPRouteRetry) int64 {
	if spec == nil {
		return 0
	}
	return perEntry + perCode*int64(len(spec.Codes))
}
