// Package ratelimit is the rateLimit part of a BackendTrafficPolicy: how many requests are served.
package ratelimit

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	// filter is the HTTP filter. Each route has its own configuration of it, because the routes that share one would
	// also share its limits.
	filter = "envoy.filters.http.local_ratelimit"
	// statPrefix begins the names of its statistics.
	statPrefix = "http_local_rate_limiter"
)

// Feature is the rateLimit part.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:      "rateLimit",
	Check:     check,
	Needs:     needs,
	Route:     route,
	Cost:      cost,
	Effective: effective,
	Filters: []feature.Filter{
		{Name: filter, Config: &localv3.LocalRateLimit{StatPrefix: statPrefix}},
		{Name: globalFilter, Config: feature.Composite(), Off: feature.Nothing()},
	},
}

// units are the times of limits.
var units = map[v1alpha1.RateLimitUnit]time.Duration{
	v1alpha1.RateLimitUnitSecond: time.Second,
	v1alpha1.RateLimitUnitMinute: time.Minute,
	v1alpha1.RateLimitUnitHour:   time.Hour,
	v1alpha1.RateLimitUnitDay:    day,
	v1alpha1.RateLimitUnitWeek:   7 * day,
	v1alpha1.RateLimitUnitMonth:  30 * day,
	v1alpha1.RateLimitUnitYear:   365 * day,
}

const day = 24 * time.Hour

const (
	// maxDistinct is how many values of a rule have a limit of their own at a time. The one that was not seen for the
	// longest time makes room for another.
	maxDistinct = 10_000
	// maxValue is how many bytes of a value Envoy keeps. Clients choose values, and this bounds the memory that they take.
	// Values that begin with the same bytes share a limit.
	maxValue = 256
)

// local are the limits of a policy for which each Envoy counts.
func local(spec *v1alpha1.BackendTrafficPolicySpec) []v1alpha1.RateLimitRule {
	if limit := spec.RateLimit; limit != nil && limit.Local != nil && reads(limit, v1alpha1.LocalRateLimitType) {
		return limit.Local.Rules
	}
	return nil
}

// global are the limits of a policy for which one service counts.
func global(spec *v1alpha1.BackendTrafficPolicySpec) []v1alpha1.RateLimitRule {
	if limit := spec.RateLimit; limit != nil && limit.Global != nil && reads(limit, v1alpha1.GlobalRateLimitType) {
		return limit.Global.Rules
	}
	return nil
}

// inherited are the limits of other policies that count too, and for which that service counts.
func inherited(spec *v1alpha1.BackendTrafficPolicySpec) []v1alpha1.InheritedLimits {
	if limit := spec.RateLimit; limit != nil && reads(limit, v1alpha1.GlobalRateLimitType) {
		return limit.Inherited
	}
	return nil
}

// everywhere are all limits for which that service counts.
func everywhere(spec *v1alpha1.BackendTrafficPolicySpec) []v1alpha1.RateLimitRule {
	limits := slices.Clone(global(spec))
	for _, others := range inherited(spec) {
		limits = append(limits, others.Rules...)
	}
	return limits
}

// reads reports whether a half of the limits is read.
func reads(limit *v1alpha1.RateLimitSpec, half v1alpha1.RateLimitType) bool {
	return limit.Type == nil || *limit.Type == half
}

// failed reports whether the policy cannot be carried out. What it covers is not served then.
func failed(problems []verdict.Problem) bool { return verdict.Has(problems, verdict.Invalid) }

// open reports whether a rule counts all requests that no other rule counts.
func open(rule *v1alpha1.RateLimitRule) bool { return len(rule.ClientSelectors) == 0 }

func route(spec *v1alpha1.BackendTrafficPolicySpec, have feature.Have, route *feature.Route) {
	if failed(check(spec)) {
		return
	}
	if limits := local(spec); len(limits) > 0 {
		feature.PerRoute(route.Route, filter, localConfig(limits))
	}
	if limiter, ok := have.Limiters[globalField]; ok {
		feature.PerRoute(route.Route, globalFilter, feature.Whole(feature.Extension(asker, globalConfig(spec, limiter))))
	}
}

func localConfig(limits []v1alpha1.RateLimitRule) *localv3.LocalRateLimit {
	config := &localv3.LocalRateLimit{
		StatPrefix:                      statPrefix,
		TokenBucket:                     bucket(&unlimited),
		FilterEnabled:                   all(),
		FilterEnforced:                  all(),
		AlwaysConsumeDefaultTokenBucket: wrapperspb.Bool(false),
		EnableXRatelimitHeaders:         ratelimitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03,
	}
	for i := range limits {
		if open(&limits[i]) && len(limits) > 1 {
			if !ptr.Deref(limits[i].ShadowMode, false) {
				config.TokenBucket = bucket(&limits[i].Limit)
			}
			continue
		}
		add(config, i, &limits[i])
	}
	return config
}

// unlimited is the limit of requests that no rule counts.
var unlimited = v1alpha1.RateLimitValue{Requests: maxRequests, Unit: v1alpha1.RateLimitUnitSecond}

// add adds a limit: what describes the requests that it counts, and the bucket that they have in common.
func add(config *localv3.LocalRateLimit, i int, rule *v1alpha1.RateLimitRule) {
	d := describe(i, rule)
	limit := &routev3.RateLimit{Actions: d.actions, HitsAddend: hits(rule)}
	if h := rule.XRateLimitHeaders; h != nil {
		limit.XRatelimitOption = headerOptions[*h]
	}
	config.RateLimits = append(config.RateLimits, limit)
	config.Descriptors = append(config.Descriptors, &ratelimitv3.LocalRateLimitDescriptor{
		Entries: d.entries, TokenBucket: bucket(&rule.Limit), ShadowMode: ptr.Deref(rule.ShadowMode, false),
	})
	if len(d.each) > 0 {
		config.MaxDynamicDescriptors = wrapperspb.UInt32(maxDistinct)
	}
}

var headerOptions = map[v1alpha1.XRateLimitHeaders]routev3.RateLimit_XRateLimitOption{
	v1alpha1.XRateLimitHeadersOff:            routev3.RateLimit_OFF,
	v1alpha1.XRateLimitHeadersDraftVersion03: routev3.RateLimit_DRAFT_VERSION_03,
}

// bucket has the requests of a limit. Envoy has no empty bucket: a limit of 0 has one token, and each request costs
// two.
func bucket(limit *v1alpha1.RateLimitValue) *typev3.TokenBucket {
	tokens := uint32(max(limit.Requests, 1))
	return &typev3.TokenBucket{
		MaxTokens: tokens, TokensPerFill: wrapperspb.UInt32(tokens), FillInterval: durationpb.New(units[limit.Unit]),
	}
}

// hits is how many tokens a request takes, nil for one.
func hits(rule *v1alpha1.RateLimitRule) *routev3.RateLimit_HitsAddend {
	if rule.Limit.Requests == 0 {
		return &routev3.RateLimit_HitsAddend{Number: wrapperspb.UInt64(2)}
	}
	return addend(requestCost(rule))
}

// addend is a cost for Envoy, nil for 1.
func addend(cost *v1alpha1.RateLimitCostSpecifier) *routev3.RateLimit_HitsAddend {
	switch {
	case cost == nil:
		return nil
	case cost.Metadata != nil:
		return &routev3.RateLimit_HitsAddend{
			Format: "%DYNAMIC_METADATA(" + cost.Metadata.Namespace + ":" + cost.Metadata.Key + ")%",
		}
	case cost.Number != nil:
		return &routev3.RateLimit_HitsAddend{Number: wrapperspb.UInt64(uint64(*cost.Number))}
	}
	return nil
}

func requestCost(rule *v1alpha1.RateLimitRule) *v1alpha1.RateLimitCostSpecifier {
	if rule.Cost == nil {
		return nil
	}
	return rule.Cost.Request
}

func all() *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
}

// cost adds the expressions of a policy, and the values that have local limits of their own.
func cost(spec *v1alpha1.BackendTrafficPolicySpec) (cost feature.Cost) {
	for i, rule := range local(spec) {
		d := describe(i, &rule)
		cost.Route += feature.Expressions(d.expressions...)
		cost.Route += int64(maxDistinct * maxValue * len(d.each))
	}
	for i, rule := range everywhere(spec) {
		cost.Route += feature.Expressions(describe(i, &rule).expressions...)
	}
	return cost
}

func effective(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
	here, together := local(spec), everywhere(spec)
	if len(here)+len(together) == 0 || failed(check(spec)) {
		return
	}
	e.RateLimit = &feature.RateLimit{Local: tell(here), Global: tell(together)}
}

// tell says what limits mean.
func tell(limits []v1alpha1.RateLimitRule) (told []feature.RateLimitRule) {
	for i := range limits {
		d := describe(i, &limits[i])
		told = append(told, feature.RateLimitRule{
			Requests: limits[i].Limit.Requests, Unit: string(limits[i].Limit.Unit),
			ClientCIDRs: d.ranges, Selective: d.selective, Each: d.each, ShadowMode: limits[i].ShadowMode,
		})
	}
	return told
}
