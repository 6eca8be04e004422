package timeout

import (
	"math"
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
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
}

func routeRule(rule *gwapiv1.HTTPRouteRule, _ feature.Have, route *feature.Route) {
	action := route.GetRoute()
	if rule.Timeouts == nil || action == nil {
		return
	}
	request, backend := feature.Duration(rule.Timeouts.Request), feature.Duration(rule.Timeouts.BackendRequest)
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
