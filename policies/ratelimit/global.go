package ratelimit

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	globalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	configv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

const (
	// asker is the name of the HTTP filter that asks the service.
	asker = "envoy.filters.http.ratelimit"
	// globalFilter is the HTTP filter that becomes the asker of a policy. What a route can override of the asker is not
	// enough: the service and the time to answer are said to the whole filter.
	globalFilter = "envoy.filters.http.composite/ratelimit"
	// globalField is the path of the limits.
	globalField = "rateLimit.global.rules"
	// domain is the one domain of the service. Policies are told apart by the first entry of each descriptor, so that one
	// question may be about the limits of several.
	domain = "gatehouse"
)

// The keys of the entries that say whose limit it is: of which policy, and unless it is shared, on which Gateway and which
// route. Envoy knows the name of its Gateway and of the route.
const (
	policyKey  = "policy"
	gatewayKey = "source_cluster"
	routeKey   = "route"
)

// needs asks for the service, and tells it the limits.
func needs(spec *v1alpha1.BackendTrafficPolicySpec) []feature.Need {
	limits := global(spec)
	if len(everywhere(spec)) == 0 || failed(check(spec)) {
		return nil
	}
	asks := &feature.GlobalLimits{}
	if len(limits) > 0 { // The service has those of other policies from these.
		asks.Config = func(policy string) *configv3.RateLimitConfig { return serviceConfig(limits, policy) }
	}
	return []feature.Need{{Field: globalField, Limits: asks}}
}

// globalConfig has Envoy ask the service about each request that limits count. Envoy asks once for all of them.
func globalConfig(spec *v1alpha1.BackendTrafficPolicySpec, limiter feature.Limiter) *globalv3.RateLimit {
	config := &globalv3.RateLimit{
		Domain: domain, Timeout: durationpb.New(limiter.Timeout), FailureModeDeny: limiter.FailClosed,
		EnableXRatelimitHeaders:        globalv3.RateLimit_DRAFT_VERSION_03,
		DisableXEnvoyRatelimitedHeader: true,
		RateLimitService: &servicev3.RateLimitServiceConfig{
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: limiter.Cluster},
			}},
		},
	}
	ask(config, global(spec), limiter.Policy)
	for _, others := range inherited(spec) {
		ask(config, others.Rules, others.Policy)
	}
	return config
}

// ask adds the limits that a policy (namespace/name) wrote.
func ask(config *globalv3.RateLimit, limits []v1alpha1.RateLimitRule, policy string) {
	for i := range limits {
		rule := &limits[i]
		actions := append(whose(rule, policy), describe(i, rule).actions...)
		asked := &routev3.RateLimit{Actions: actions, HitsAddend: addend(requestCost(rule)), Limit: override(rule)}
		if h := rule.XRateLimitHeaders; h != nil {
			asked.XRatelimitOption = headerOptions[*h]
		}
		config.RateLimits = append(config.RateLimits, asked)
		if rule.Cost != nil && rule.Cost.Response != nil {
			config.RateLimits = append(config.RateLimits, &routev3.RateLimit{
				Actions: actions, HitsAddend: addend(rule.Cost.Response), Limit: override(rule), ApplyOnStreamDone: true,
			})
		}
	}
}

// whose are the actions that say whose limit it is.
func whose(rule *v1alpha1.RateLimitRule, policy string) []*routev3.RateLimit_Action {
	actions := []*routev3.RateLimit_Action{named(policyKey, policy)}
	if ptr.Deref(rule.Shared, false) {
		return actions
	}
	return append(actions, &routev3.RateLimit_Action{
		ActionSpecifier: &routev3.RateLimit_Action_SourceCluster_{SourceCluster: &routev3.RateLimit_Action_SourceCluster{}},
	}, named(routeKey, "%ROUTE_NAME%"))
}

func named(key, value string) *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{
		GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorKey: key, DescriptorValue: value},
	}}
}

// override is where another limit may be, nil for nowhere.
func override(rule *v1alpha1.RateLimitRule) *routev3.RateLimit_Override {
	from := rule.Limit.FromMetadata
	if from == nil {
		return nil
	}
	return &routev3.RateLimit_Override{OverrideSpecifier: &routev3.RateLimit_Override_DynamicMetadata_{
		DynamicMetadata: &routev3.RateLimit_Override_DynamicMetadata{MetadataKey: &metadatav3.MetadataKey{
			Key: from.Namespace, Path: []*metadatav3.MetadataKey_PathSegment{{
				Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: from.Key},
			}},
		}},
	}}
}

// serviceConfig is what the service must know of the limits of a policy. It has the descriptors that Envoy sends. One
// without a value has any value, and a counter for each.
func serviceConfig(limits []v1alpha1.RateLimitRule, policy string) *configv3.RateLimitConfig {
	var shared, own []*configv3.RateLimitDescriptor
	for i := range limits {
		limit := counted(i, &limits[i])
		if ptr.Deref(limits[i].Shared, false) {
			shared = append(shared, limit)
		} else {
			own = append(own, limit)
		}
	}
	if len(own) > 0 {
		shared = append(shared, &configv3.RateLimitDescriptor{Key: gatewayKey, Descriptors: []*configv3.RateLimitDescriptor{
			{Key: routeKey, Descriptors: own},
		}})
	}
	return &configv3.RateLimitConfig{Name: policy, Domain: domain, Descriptors: []*configv3.RateLimitDescriptor{
		{Key: policyKey, Value: policy, Descriptors: shared},
	}}
}

// counted is a limit as the service has it: the entries of its descriptor, one within the other.
func counted(i int, rule *v1alpha1.RateLimitRule) *configv3.RateLimitDescriptor {
	entries := describe(i, rule).entries
	outer := &configv3.RateLimitDescriptor{}
	inner := outer
	for n, entry := range entries {
		inner.Key, inner.Value = entry.Key, entry.Value
		if n < len(entries)-1 {
			next := &configv3.RateLimitDescriptor{}
			inner.Descriptors = []*configv3.RateLimitDescriptor{next}
			inner = next
		}
	}
	inner.RateLimit = &configv3.RateLimitPolicy{
		Unit: serviceUnits[rule.Limit.Unit], RequestsPerUnit: uint32(rule.Limit.Requests),
	}
	inner.ShadowMode = ptr.Deref(rule.ShadowMode, false)
	return outer
}

var serviceUnits = map[v1alpha1.RateLimitUnit]configv3.RateLimitUnit{
	v1alpha1.RateLimitUnitSecond: configv3.RateLimitUnit_SECOND,
	v1alpha1.RateLimitUnitMinute: configv3.RateLimitUnit_MINUTE,
	v1alpha1.RateLimitUnitHour:   configv3.RateLimitUnit_HOUR,
	v1alpha1.RateLimitUnitDay:    configv3.RateLimitUnit_DAY,
	v1alpha1.RateLimitUnitWeek:   configv3.RateLimitUnit_WEEK,
	v1alpha1.RateLimitUnitMonth:  configv3.RateLimitUnit_MONTH,
	v1alpha1.RateLimitUnitYear:   configv3.RateLimitUnit_YEAR,
}
