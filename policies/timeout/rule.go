package timeout

import (
	"math"
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// OfRule is the timeouts of a rule. They win over those of a policy, and come after the retries of the rule.
var OfRule = feature.Feature[gwapiv1.HTTPRouteRule]{
	Name: "timeouts",
	Check: func(rule *gwapiv1.HTTPRouteRule) []verdict.Problem {
		if rule.Timeouts == nil {
			return nil
		}
		return slices.Concat(
			feature.CheckDuration("timeouts.request", rule.Timeouts.Request),
			feature.CheckDuration("timeouts.backendRequest", rule.Timeouts.BackendRequest),
		)
	},
	Route:  routeRule,
	Settle: settle,

	Effective: effectiveRule,
}

func routeRule(rule *gwapiv1.HTTPRouteRule, _ feature.Have, route *feature.Route) {
	if action := route.GetRoute(); rule.Timeouts != nil && action != nil {
		setTimeouts(rule.Timeouts, action)
	}
}

// effectiveRule has the timeouts set on an action with what was said before: it is for the same action that they say
// something.
func effectiveRule(rule *gwapiv1.HTTPRouteRule, _ feature.Have, e *feature.Effective) {
	if rule.Timeouts == nil {
		return
	}
	told, action := feature.Timeouts{}, &routev3.RouteAction{}
	if e.Timeouts != nil {
		told = *e.Timeouts
	}
	if told.Request != nil {
		action.Timeout = durationpb.New(told.Request.Duration)
	}
	if e.Retries != nil {
		action.RetryPolicy = &routev3.RetryPolicy{NumRetries: wrapperspb.UInt32(uint32(e.Retries.Attempts))}
	}
	setTimeouts(rule.Timeouts, action)
	told.Request = feature.EffectiveDuration(action.Timeout)
	if attempt := action.GetRetryPolicy().GetPerTryTimeout(); attempt != nil {
		told.Attempt = feature.EffectiveDuration(attempt)
	}
	if told != (feature.Timeouts{}) {
		e.Timeouts = &told
	}
}

// setTimeouts sets the timeouts on an action with its retries.
func setTimeouts(timeouts *gwapiv1.HTTPRouteTimeouts, action *routev3.RouteAction) {
	request, backend := feature.Duration(timeouts.Request), feature.Duration(timeouts.BackendRequest)
	if request != nil {
		action.Timeout = request
	}
	whole, attempt := request.AsDuration(), backend.AsDuration()
	switch {
	case backend == nil:
	case action.RetryPolicy != nil:
		action.RetryPolicy.PerTryTimeout = backend
		if action.Timeout == nil {
			action.Timeout = leaveTime(attempt, action.RetryPolicy)
		}
	case request == nil || (attempt > 0 && (whole == 0 || attempt < whole)):
		action.Timeout = backend
	}
}

// leaveTime returns what all attempts together can take, or nil if Envoy's own limit for the whole request leaves time
// for each attempt.
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
