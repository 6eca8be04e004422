package translator

import (
	"fmt"
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// fail is what a rule does that cannot be carried out as written: it fails closed.
func fail(route *routev3.Route, of *routeRow) {
	route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: of.Kind.failure}}
}

// unusableCodes are Envoy's names of what answers for the share of backends that cannot be used.
var unusableCodes = map[uint32]routev3.RouteAction_ClusterNotFoundResponseCode{
	500: routev3.RouteAction_INTERNAL_SERVER_ERROR,
	503: routev3.RouteAction_SERVICE_UNAVAILABLE,
}

// forward sends requests to the rule's backends by their weights. Without a usable one it fails, as Gateway API asks
// (HTTPRouteRule and GRPCRouteRule, backendRefs).
func forward(route *routev3.Route, bound *boundRule, rule *ruleRow) {
	weighted := weights(bound, rule)
	if !slices.ContainsFunc(weighted, func(c *routev3.WeightedCluster_ClusterWeight) bool { return c.Name != unusableCluster }) {
		fail(route, bound.rules.Route)
		return
	}
	action := &routev3.RouteAction{ClusterNotFoundResponseCode: unusableCodes[bound.rules.Route.Kind.failure]}
	if bound.rules.Route.Kind.http2 {
		// A stream lasts as long as client and server want; Envoy would end it after 15 s.
		action.Timeout = durationpb.New(0)
	}
	if only := weighted[0]; len(weighted) == 1 && !changesHeaders(only) {
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: only.Name}
	} else {
		action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: weighted}}
	}
	route.Action = &routev3.Route_Route{Route: action}
}

// weights lists the clusters with their shares; backends that share a cluster and have no filters of their own are added up.
func weights(bound *boundRule, rule *ruleRow) []*routev3.WeightedCluster_ClusterWeight {
	var weighted []*routev3.WeightedCluster_ClusterWeight
	for i, b := range rule.Backends {
		name := unusableCluster
		if bound.clusters[min(i, len(bound.clusters)-1)] != nil {
			name = bound.clusters[i].Name
		}
		same := slices.IndexFunc(weighted, func(c *routev3.WeightedCluster_ClusterWeight) bool { return c.Name == name && !changesHeaders(c) })
		if same >= 0 && len(b.Filters) == 0 {
			weighted[same].Weight.Value += b.Weight
			continue
		}
		c := &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(b.Weight)}
		for f := range b.Filters {
			if apply := backendFilters[b.Filters[f].Type]; apply != nil {
				apply(c, &b.Filters[f])
			}
		}
		weighted = append(weighted, c)
	}
	return weighted
}

func changesHeaders(c *routev3.WeightedCluster_ClusterWeight) bool {
	return len(c.RequestHeadersToAdd)+len(c.RequestHeadersToRemove)+len(c.ResponseHeadersToAdd)+len(c.ResponseHeadersToRemove) > 0
}

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
	case !hasRequest || (backend > 0 && (request == 0 || backend < request)):
		action.Timeout = durationpb.New(backend)
	}
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

// setRetry applies the rule's own retry, which wins over that of a policy (Gateway API, HTTPRouteRetry).
func setRetry(action *routev3.RouteAction, retry *gwapiv1.HTTPRouteRetry) {
	if retry == nil {
		return
	}
	policy := &routev3.RetryPolicy{RetryOn: "connect-failure,refused-stream,unavailable,cancelled", NumRetries: wrapperspb.UInt32(1)}
	if len(retry.Codes) > 0 {
		policy.RetryOn += ",retriable-status-codes"
		for _, code := range retry.Codes {
			policy.RetriableStatusCodes = append(policy.RetriableStatusCodes, uint32(code))
		}
	}
	if retry.Attempts != nil {
		policy.NumRetries = wrapperspb.UInt32(uint32(max(*retry.Attempts, 0)))
	}
	if backoff, ok := duration(retry.Backoff); ok && backoff > 0 {
		policy.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(backoff)}
	}
	action.RetryPolicy = policy
}
