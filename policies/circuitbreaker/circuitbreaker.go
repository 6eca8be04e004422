// Package circuitbreaker is the circuitBreaker part of ClusterSettings: how much may be open to a backend at once.
package circuitbreaker

import (
	"fmt"
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the circuitBreaker part.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:    "circuitBreaker",
	Check:   check,
	Cluster: cluster,
	Effective: func(spec *v1alpha1.ClusterSettings, _ feature.Have, e *feature.Effective) {
		if c := spec.CircuitBreaker; c != nil {
			e.Limits = &feature.Limits{
				MaxConnections: c.MaxConnections, MaxPendingRequests: c.MaxPendingRequests,
				MaxParallelRequests: c.MaxParallelRequests, MaxParallelRetries: c.MaxParallelRetries,
				MaxRequestsPerConnection: c.MaxRequestsPerConnection,
			}
			if b := c.RetryBudget; b != nil {
				numerator, denominator := feature.Fraction(&b.Percent)
				e.Limits.RetryBudget = fmt.Sprintf("%d/%d", numerator, denominator)
			}
		}
	},
}

// defaultRetries is the number of parallel retries if the policy does not say. Envoy's own default of 3 is too low for
// a backend that many clients use.
const defaultRetries = 1024

// defaultPerEndpoint is the number of connections to an endpoint if the policy limits them and does not say to how many.
const defaultPerEndpoint = 1024

func check(spec *v1alpha1.ClusterSettings) []verdict.Problem {
	c := spec.CircuitBreaker
	if c == nil {
		return nil
	}
	var problems []verdict.Problem
	for _, limit := range []struct {
		field string
		value *int64
	}{
		{"maxConnections", c.MaxConnections},
		{"maxPendingRequests", c.MaxPendingRequests},
		{"maxParallelRequests", c.MaxParallelRequests},
		{"maxParallelRetries", c.MaxParallelRetries},
		{"maxRequestsPerConnection", c.MaxRequestsPerConnection},
		{"perEndpoint.maxConnections", perEndpoint(c)},
	} {
		if n := limit.value; n != nil && (*n < 0 || *n > math.MaxUint32) {
			problems = append(problems, feature.Invalid("circuitBreaker."+limit.field,
				"%d is out of range: write a number from 0 to %d", *n, uint32(math.MaxUint32)))
		}
	}
	return append(problems, checkBudget(c.RetryBudget)...)
}

func checkBudget(budget *v1alpha1.RetryBudget) []verdict.Problem {
	if budget == nil {
		return nil
	}
	return feature.CheckFraction("circuitBreaker.retryBudget.percent", &budget.Percent)
}

func cluster(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
	c := spec.CircuitBreaker
	if c == nil {
		return
	}
	limits := &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections:     limit(c.MaxConnections),
		MaxPendingRequests: limit(c.MaxPendingRequests),
		MaxRequests:        limit(c.MaxParallelRequests),
		MaxRetries:         limit(c.MaxParallelRetries),
		RetryBudget:        retryBudget(c.RetryBudget),
	}
	if limits.MaxRetries == nil {
		limits.MaxRetries = wrapperspb.UInt32(defaultRetries)
	}
	upstream.Cluster.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{limits}}
	if each := limit(perEndpoint(c)); each != nil {
		upstream.Cluster.CircuitBreakers.PerHostThresholds = []*clusterv3.CircuitBreakers_Thresholds{{MaxConnections: each}}
	}
	if most := limit(c.MaxRequestsPerConnection); most != nil {
		if upstream.HTTP.CommonHttpProtocolOptions == nil {
			upstream.HTTP.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{}
		}
		upstream.HTTP.CommonHttpProtocolOptions.MaxRequestsPerConnection = most
	}
}

// perEndpoint is the limit of connections to one endpoint, nil for none.
func perEndpoint(c *v1alpha1.CircuitBreaker) *int64 {
	switch {
	case c.PerEndpoint == nil:
		return nil
	case c.PerEndpoint.MaxConnections == nil:
		return new(int64(defaultPerEndpoint))
	}
	return c.PerEndpoint.MaxConnections
}

// limit is nil for a limit that is not set, or out of range.
func limit(n *int64) *wrapperspb.UInt32Value {
	if n == nil || *n < 0 || *n > math.MaxUint32 {
		return nil
	}
	return wrapperspb.UInt32(uint32(*n))
}

func retryBudget(budget *v1alpha1.RetryBudget) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	if budget == nil || len(checkBudget(budget)) > 0 {
		return nil
	}
	numerator, denominator := feature.Fraction(&budget.Percent)
	out := &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
		BudgetPercent: &typev3.Percent{Value: 100 * float64(numerator) / float64(denominator)},
	}
	if n := budget.MinRetryConcurrency; n != nil {
		out.MinRetryConcurrency = wrapperspb.UInt32(*n)
	}
	return out
}
