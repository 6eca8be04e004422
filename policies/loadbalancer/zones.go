package loadbalancer

import (
	"fmt"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

func checkZones(field string, zones *v1alpha1.ZoneAware) []verdict.Problem {
	if zones == nil {
		return nil
	}
	var problems []verdict.Problem
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
