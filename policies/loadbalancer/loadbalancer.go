// Package loadbalancer is the loadBalancer part of a BackendTrafficPolicy: which endpoint gets a request.
package loadbalancer

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastrequestv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrrlocalityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// Feature is the loadBalancer part.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:    "loadBalancer",
	Check:   check,
	Cluster: cluster,
	Route:   route,
	Traits: func(spec *v1alpha1.ClusterSettings) feature.Traits {
		return feature.Traits{Together: hashes(spec.LoadBalancer)}
	},
	Effective: func(spec *v1alpha1.ClusterSettings, _ feature.Have, e *feature.Effective) {
		if spec.LoadBalancer != nil {
			e.LoadBalancer = &feature.LoadBalancerType{Type: string(spec.LoadBalancer.Type)}
		}
	},
	Connection: func(spec *v1alpha1.ClusterSettings, _ feature.Have, connection *feature.Connection) {
		lb := spec.LoadBalancer
		connection.HashSource = hashes(lb) && lb.ConsistentHash != nil &&
			lb.ConsistentHash.Type == v1alpha1.SourceIPConsistentHashType
	},
}

// balancer makes Envoy's load balancing policy of one type, which chooses a locality first if it is told how.
type balancer struct {
	extension string
	config    func(lb *v1alpha1.LoadBalancer, localities *commonv3.LocalityLbConfig) proto.Message
}

// balancers is every type of load balancer.
var balancers = map[v1alpha1.LoadBalancerType]balancer{
	v1alpha1.LeastRequestLoadBalancerType: {
		"envoy.load_balancing_policies.least_request",
		func(lb *v1alpha1.LoadBalancer, localities *commonv3.LocalityLbConfig) proto.Message {
			return &leastrequestv3.LeastRequest{LocalityLbConfig: localities, SlowStartConfig: slowStart(lb)}
		},
	},
	v1alpha1.RoundRobinLoadBalancerType: {
		"envoy.load_balancing_policies.round_robin",
		func(lb *v1alpha1.LoadBalancer, localities *commonv3.LocalityLbConfig) proto.Message {
			return &roundrobinv3.RoundRobin{LocalityLbConfig: localities, SlowStartConfig: slowStart(lb)}
		},
	},
	v1alpha1.RandomLoadBalancerType: {
		"envoy.load_balancing_policies.random",
		func(_ *v1alpha1.LoadBalancer, localities *commonv3.LocalityLbConfig) proto.Message {
			return &randomv3.Random{LocalityLbConfig: localities}
		},
	},
	v1alpha1.ConsistentHashLoadBalancerType: {
		"envoy.load_balancing_policies.maglev",
		func(lb *v1alpha1.LoadBalancer, localities *commonv3.LocalityLbConfig) proto.Message {
			return &maglevv3.Maglev{
				TableSize:                wrapperspb.UInt64(tableSize(lb.ConsistentHash)),
				LocalityWeightedLbConfig: localities.GetLocalityWeightedLbConfig(),
			}
		},
	},
	v1alpha1.BackendUtilizationLoadBalancerType: {
		"envoy.load_balancing_policies.client_side_weighted_round_robin",
		func(lb *v1alpha1.LoadBalancer, _ *commonv3.LocalityLbConfig) proto.Message { return utilization(lb) },
	},
	v1alpha1.DynamicModuleLoadBalancerType: {}, // It knows nothing of localities, see module.
}

func cluster(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
	lb := spec.LoadBalancer
	if lb == nil {
		lb = &v1alpha1.LoadBalancer{Type: v1alpha1.LeastRequestLoadBalancerType}
	}
	if byModule(lb) {
		if config := module(lb, upstream); config != nil {
			upstream.Cluster.LoadBalancingPolicy = policy("envoy.load_balancing_policies.dynamic_modules", config)
		}
		return
	}
	b, ok := balancers[lb.Type]
	if !ok || b.config == nil {
		return
	}
	upstream.Endpoints.ZoneWeights = zoneWeights(lb)
	localities := localities(lb, upstream)
	chosen := policy(b.extension, b.config(lb, localities))
	if lb.Type == v1alpha1.BackendUtilizationLoadBalancerType && localities != nil {
		// It knows nothing of localities, so another policy chooses one before.
		chosen = policy("envoy.load_balancing_policies.wrr_locality", &wrrlocalityv3.WrrLocality{EndpointPickingPolicy: chosen})
	}
	upstream.Cluster.LoadBalancingPolicy = overridden(lb, chosen)
}

// policy is a load balancing policy with a configuration.
func policy(extension string, config proto.Message) *clusterv3.LoadBalancingPolicy {
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: extension, TypedConfig: feature.Any(config)},
	}}}
}

func slowStart(lb *v1alpha1.LoadBalancer) *commonv3.SlowStartConfig {
	if lb.SlowStart == nil {
		return nil
	}
	return &commonv3.SlowStartConfig{SlowStartWindow: feature.Duration(&lb.SlowStart.Window)}
}
