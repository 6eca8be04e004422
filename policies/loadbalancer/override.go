package loadbalancer

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	overridev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

func checkOverride(field string, override *v1alpha1.EndpointOverride) []verdict.Problem {
	if override == nil {
		return nil
	}
	if len(override.ExtractFrom) == 0 {
		return []verdict.Problem{feature.Invalid(field+".extractFrom",
			"the list is empty, so no request can name an endpoint: add an item with a header")}
	}
	var problems []verdict.Problem
	for i, from := range override.ExtractFrom {
		at := fmt.Sprintf("%s.extractFrom[%d]", field, i)
		if from.Header == nil {
			problems = append(problems, feature.Invalid(at, "the item is empty: write header, the name of a request header"))
			continue
		}
		problems = append(problems, feature.CheckHeaderName(at+".header", *from.Header)...)
	}
	return problems
}

// overridden lets requests name their endpoint, and has those that do not chosen by a policy.
func overridden(lb *v1alpha1.LoadBalancer, otherwise *clusterv3.LoadBalancingPolicy) *clusterv3.LoadBalancingPolicy {
	if lb.EndpointOverride == nil {
		return otherwise
	}
	out := &overridev3.OverrideHost{FallbackPolicy: otherwise}
	for _, from := range lb.EndpointOverride.ExtractFrom {
		if from.Header != nil {
			out.OverrideHostSources = append(out.OverrideHostSources,
				&overridev3.OverrideHost_OverrideHostSource{Header: *from.Header})
		}
	}
	if len(out.OverrideHostSources) == 0 {
		return otherwise
	}
	return policy("envoy.load_balancing_policies.override_host", out)
}
