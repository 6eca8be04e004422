package loadbalancer

import (
	"fmt"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

func checkZones(field string, lb *v1alpha1.LoadBalancer) []verdict.Problem {
	zones := lb.ZoneAware
	if zones == nil {
		return nil
	}
	problems := checkLocal(field+".preferLocal", lb)
	seen := map[string]bool{}
	for i, zone := range zones.WeightedZones {
		at := fmt.Sprintf("%s.weightedZones[%d].zone", field, i)
		switch {
		case zone.Zone == "":
			problems = append(problems, feature.Invalid(at, "the zone is empty: write the name of a zone"))
		case seen[zone.Zone]:
			problems = append(problems, feature.Invalid(at, "zone %q is listed twice: remove one of them", zone.Zone))
		}
		seen[zone.Zone] = true
	}
	return problems
}

func checkLocal(field string, lb *v1alpha1.LoadBalancer) (problems []verdict.Problem) {
	local := lb.ZoneAware.PreferLocal
	if local == nil {
		return nil
	}
	if hashes(lb) || lb.Type == v1alpha1.BackendUtilizationLoadBalancerType {
		problems = append(problems, feature.Invalid(field, "preferLocal does not work with type %s: remove it or change the type", lb.Type))
	}
	if len(lb.ZoneAware.WeightedZones) > 0 {
		problems = append(problems, feature.Invalid(field, "preferLocal and weightedZones exclude each other: remove one of them"))
	}
	if n := local.PercentageEnabled; n != nil && *n > percent {
		problems = append(problems, feature.Invalid(field+".percentageEnabled", "%d is out of range: write a number from 0 to %d",
			*n, percent))
	}
	return problems
}

// localities says how a locality is chosen: by the weights of backends, by those of zones, or the zone of Envoy itself.
// It is nil if localities do not matter.
func localities(lb *v1alpha1.LoadBalancer, upstream *feature.Upstream) *commonv3.LocalityLbConfig {
	switch {
	case upstream.Localities || upstream.Endpoints.ZoneWeights != nil:
		return &commonv3.LocalityLbConfig{
			LocalityConfigSpecifier: &commonv3.LocalityLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &commonv3.LocalityLbConfig_LocalityWeightedLbConfig{},
			},
		}
	case lb.ZoneAware != nil && lb.ZoneAware.PreferLocal != nil && len(checkLocal("", lb)) == 0:
		upstream.Endpoints.OwnZone = true
		return &commonv3.LocalityLbConfig{
			LocalityConfigSpecifier: &commonv3.LocalityLbConfig_ZoneAwareLbConfig_{
				ZoneAwareLbConfig: ownZone(lb.ZoneAware.PreferLocal),
			},
		}
	}
	return nil
}

func ownZone(local *v1alpha1.PreferLocalZone) *commonv3.LocalityLbConfig_ZoneAwareLbConfig {
	out := &commonv3.LocalityLbConfig_ZoneAwareLbConfig{}
	if n := local.PercentageEnabled; n != nil {
		out.RoutingEnabled = &typev3.Percent{Value: float64(*n)}
	}
	if n := local.MinEndpointsThreshold; n != nil {
		out.MinClusterSize = wrapperspb.UInt64(*n)
	}
	if local.Force != nil {
		out.ForceLocalZone = &commonv3.LocalityLbConfig_ZoneAwareLbConfig_ForceLocalZone{}
		if n := local.Force.MinEndpointsInZoneThreshold; n != nil {
			out.ForceLocalZone.MinSize = wrapperspb.UInt32(*n)
		}
	}
	return out
}

// zoneWeights are the weights of zones, nil if there are none.
func zoneWeights(lb *v1alpha1.LoadBalancer) map[string]uint32 {
	if lb.ZoneAware == nil || len(lb.ZoneAware.WeightedZones) == 0 {
		return nil
	}
	weights := map[string]uint32{}
	for _, zone := range lb.ZoneAware.WeightedZones {
		weights[zone.Zone] = zone.Weight
	}
	return weights
}
