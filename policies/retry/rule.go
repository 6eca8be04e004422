package retry

import (
	"math"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// OfRule is the retry of a rule. It replaces the retry part of a policy. Requests that an endpoint may have processed
// are tried again if their method is safe (docs/decisions/045-retries-of-rules.md).
var OfRule = feature.Feature[gwapiv1.HTTPRouteRule]{
	Name: "retry",
	Check: func(rule *gwapiv1.HTTPRouteRule) []verdict.Problem {
		if rule.Retry == nil {
			return nil
		}
		return feature.CheckDuration("retry.backoff", rule.Retry.Backoff)
	},
	Route: routeRule,
	Effective: func(rule *gwapiv1.HTTPRouteRule, _ feature.Have, e *feature.Effective) {
		if rule.Retry != nil {
			tell(policyOf(rule.Retry), e)
		}
	},
	Cost: func(rule *gwapiv1.HTTPRouteRule) feature.Cost {
		if rule.Retry == nil {
			return feature.Cost{}
		}
		return feature.Cost{Route: feature.PerEntry + feature.PerCode*int64(len(rule.Retry.Codes))}
	},
}

// unprocessed is, in Envoy's terms, when a backend did not process a request: there was no connection, or it broke
// before the request was sent, or the backend refused the stream or answered gRPC's UNAVAILABLE (Gateway API,
// HTTPRouteRetry).
const unprocessed = "connect-failure,refused-stream,reset-before-request,unavailable"

func routeRule(rule *gwapiv1.HTTPRouteRule, _ feature.Have, route *feature.Route) {
	if action := route.GetRoute(); rule.Retry != nil && action != nil {
		action.RetryPolicy = policyOf(rule.Retry)
	}
}

func policyOf(spec *gwapiv1.HTTPRouteRetry) *routev3.RetryPolicy {
	policy := Elsewhere()
	policy.RetryOn = unprocessed
	if len(spec.Codes) > 0 {
		policy.RetryOn += ",retriable-status-codes"
		for _, code := range spec.Codes {
			policy.RetriableStatusCodes = append(policy.RetriableStatusCodes, uint32(code))
		}
	}
	// The API server's default is 1. The CRDs before version 1.7 of Gateway API do not have it.
	policy.NumRetries = wrapperspb.UInt32(uint32(min(max(ptr.Deref(spec.Attempts, 1), 0), math.MaxInt32)))
	if backoff := feature.Duration(spec.Backoff); backoff.AsDuration() > 0 {
		policy.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: backoff}
	}
	return policy
}
