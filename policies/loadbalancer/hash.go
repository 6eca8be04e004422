package loadbalancer

import (
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// defaultTableSize is the default size of the Maglev table.
const defaultTableSize = 65537

// hashes reports whether the load balancer hashes requests.
func hashes(lb *v1alpha1.LoadBalancer) bool {
	return lb != nil && lb.Type == v1alpha1.ConsistentHashLoadBalancerType
}

func tableSize(hash *v1alpha1.ConsistentHash) uint64 {
	if hash == nil || hash.TableSize == nil {
		return defaultTableSize
	}
	return *hash.TableSize
}

func route(spec *v1alpha1.ClusterSettings, _ feature.Have, route *feature.Route) {
	hideReports(spec.LoadBalancer, route)
	action := route.GetRoute()
	if action == nil || !hashes(spec.LoadBalancer) || spec.LoadBalancer.ConsistentHash == nil {
		return
	}
	hash := spec.LoadBalancer.ConsistentHash
	if policies, ok := hashPolicies[hash.Type]; ok {
		action.HashPolicy = policies(hash)
	}
}

// hashPolicies has, for each type, the parts of a request that are hashed.
var hashPolicies = map[v1alpha1.ConsistentHashType]func(*v1alpha1.ConsistentHash) []*routev3.RouteAction_HashPolicy{
	v1alpha1.SourceIPConsistentHashType: func(*v1alpha1.ConsistentHash) []*routev3.RouteAction_HashPolicy {
		return []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}}
	},
	v1alpha1.HeaderConsistentHashType: func(hash *v1alpha1.ConsistentHash) []*routev3.RouteAction_HashPolicy {
		return hashHeaders([]*v1alpha1.Header{hash.Header})
	},
	v1alpha1.HeadersConsistentHashType: func(hash *v1alpha1.ConsistentHash) []*routev3.RouteAction_HashPolicy {
		return hashHeaders(hash.Headers)
	},
	v1alpha1.CookieConsistentHashType: func(hash *v1alpha1.ConsistentHash) []*routev3.RouteAction_HashPolicy {
		return hashCookie(hash.Cookie)
	},
	v1alpha1.QueryParamsConsistentHashType: func(hash *v1alpha1.ConsistentHash) []*routev3.RouteAction_HashPolicy {
		return hashQuery(hash.QueryParams)
	},
}

func hashHeaders(headers []*v1alpha1.Header) []*routev3.RouteAction_HashPolicy {
	var policies []*routev3.RouteAction_HashPolicy
	for _, header := range headers {
		if header != nil {
			policies = append(policies, &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
				Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: header.Name},
			}})
		}
	}
	return policies
}

func hashCookie(cookie *v1alpha1.Cookie) []*routev3.RouteAction_HashPolicy {
	if cookie == nil {
		return nil
	}
	hashed := &routev3.RouteAction_HashPolicy_Cookie{Name: cookie.Name, Ttl: feature.Duration(cookie.TTL)}
	for _, name := range slices.Sorted(maps.Keys(cookie.Attributes)) {
		hashed.Attributes = append(hashed.Attributes,
			&routev3.RouteAction_HashPolicy_CookieAttribute{Name: name, Value: cookie.Attributes[name]})
	}
	return []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: hashed}}}
}

func hashQuery(parameters []*v1alpha1.QueryParam) []*routev3.RouteAction_HashPolicy {
	var policies []*routev3.RouteAction_HashPolicy
	for _, parameter := range parameters {
		if parameter != nil {
			policies = append(policies,
				&routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
					QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: parameter.Name},
				}})
		}
	}
	return policies
}
