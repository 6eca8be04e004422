package translator

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/policies/verdict"
)

const (
	// conditionZones is False on a route to a Service that asks for near endpoints. Gateway API has no condition for
	// this.
	conditionZones = "TrafficDistributionServed"
	// reasonAllZones is the reason: all endpoints get requests, wherever they are. See decision 024.
	reasonAllZones = "AllZones"
)

// nearness is how a Service asks for near endpoints, such as trafficDistribution: PreferSameZone, empty if it does not.
func nearness(s *corev1.Service) string {
	if near := asksFor(s.Spec.TrafficDistribution); near != "" {
		return near
	}
	for _, annotation := range []string{corev1.AnnotationTopologyMode, corev1.DeprecatedAnnotationTopologyAwareHints} {
		if mode := s.Annotations[annotation]; mode == "Auto" || mode == "auto" {
			return annotation + ": " + mode
		}
	}
	return ""
}

// asksFor is what a trafficDistribution asks for, empty if nothing.
func asksFor(distribution *string) string {
	if deref(distribution) == "" {
		return ""
	}
	return "trafficDistribution: " + *distribution
}

// withoutNearness reports the backends of a route whose Services ask for near endpoints but whose endpoints all get
// requests. Only its status says this, because the owner of the route is not the one who asks.
func withoutNearness(rules *rulesRow) []verdict.Problem {
	var problems []verdict.Problem
	for _, rule := range rules.Rules {
		for _, b := range rule.all() {
			if b.To == nil || b.To.Near == "" {
				continue // It has problems of its own, or asks for nothing.
			}
			p := verdict.Problem{
				Reason: reasonAllZones, Condition: conditionZones, Weight: verdict.Unresolved,
				Message: fmt.Sprintf("%s has %s, which has no effect: requests go to its endpoints in all zones: remove it, or give each zone a Gateway and a Service of its own",
					b.To, b.To.Near),
			}
			if !slices.Contains(problems, p) {
				problems = append(problems, p)
			}
		}
	}
	slices.SortFunc(problems, func(a, b verdict.Problem) int { return cmp.Compare(a.Message, b.Message) })
	return problems
}
