package translator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	xdsv3 "github.com/cncf/xds/go/xds/core/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	proxyclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	sniv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	upstreamipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/dns"
	"gatehouse/policies/endpoints"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// A Backend of type DynamicResolver has no endpoints: Envoy resolves the host of each request, or the server name of each
// connection. See decision 102.

// reasonResolver is Envoy Gateway's reason for a Backend of type DynamicResolver that is not the only one of its rule.
const reasonResolver = "InvalidBackendRef"

// portOfServerNames is the port to which connections go by their server name, which has no port.
const portOfServerNames = 443

// maxResolved is how many hosts an Envoy keeps for a Backend. Each costs it some KiB, and clients choose them.
const maxResolved = 1024

const (
	// keptResolved is how long an Envoy keeps a host that no request names.
	keptResolved = 5 * time.Minute
	// longestResolution is how long requests wait for the addresses of a host.
	longestResolution = 5 * time.Second
)

// byRequest reports whether the endpoint is the host of each request, or the server name of each connection.
func (b backend) byRequest() bool { return b.To != nil && b.To.Discovery == byRequest }

func (c *clusterUse) byRequest() bool { return c.Backends[0].byRequest() }

// dropResolvers finds the Backends whose endpoint is the host of each request and that are not the only ones of a rule.
// Nothing is sent to them. At has the index of each backend in the backendRefs of the rule.
func (row *ruleRow) dropResolvers(at []int, field string) (problems []verdict.Problem) {
	if len(row.Backends) < 2 {
		return nil
	}
	for i := range row.Backends {
		b := &row.Backends[i]
		if !b.byRequest() {
			continue
		}
		problems = append(problems, verdict.Problem{
			Field: fmt.Sprintf("%s.backendRefs[%d]", field, at[i]), Reason: reasonResolver, Weight: verdict.Unresolved,
			Condition: string(gwapiv1.RouteConditionResolvedRefs),
			Message: fmt.Sprintf("%s takes the endpoint from the host of each request, so it has to be the only backend of its "+
				"rule, and nothing is sent to it: write a rule for it alone", b.To),
		})
		b.To = nil
	}
	return problems
}

// resolveRequests makes a cluster whose endpoint is the host of each request. Envoy balances nothing there.
func resolveRequests(u *feature.Upstream, use *clusterUse) {
	c, tls := u.Cluster, use.Backends[0].TLS
	c.LoadBalancingPolicy, c.LbPolicy = nil, clusterv3.Cluster_CLUSTER_PROVIDED
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.dynamic_forward_proxy", TypedConfig: packed(&proxyclusterv3.ClusterConfig{
			ClusterImplementationSpecifier: &proxyclusterv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: resolved(u, use)},
			// Envoy would want the host of the request as the server name, and verify it, even without TLS.
			AllowInsecureClusterOptions: tls == nil || !tls.OfRequests() || tls.Unverified(),
		}),
	}}
}

// resolveServerNames is the configuration of the network filter that resolves the server names of connections for such
// a cluster.
func resolveServerNames(use *clusterUse) *sniv3.FilterConfig {
	return &sniv3.FilterConfig{
		DnsCacheConfig: resolved(upstream(use), use),
		PortSpecifier:  &sniv3.FilterConfig_PortValue{PortValue: portOfServerNames},
	}
}

// resolved is the cache of what hosts resolve to. Addresses of Envoy's own host and its link are removed from it, the
// addresses in hosts too.
func resolved(u *feature.Upstream, use *clusterUse) *proxyv3.DnsCacheConfig {
	resolution := cmp.Or(u.DNS, dns.Resolution(nil))
	cache := &proxyv3.DnsCacheConfig{
		Name: use.Name, DnsRefreshRate: resolution.DnsRefreshRate, MaxHosts: wrapperspb.UInt32(maxResolved),
		HostTtl: durationpb.New(keptResolved), DnsQueryTimeout: durationpb.New(longestResolution),
		// The two enums have the same values in the same order, and the other one an unspecified one before them.
		DnsLookupFamily:       clusterv3.Cluster_DnsLookupFamily(resolution.DnsLookupFamily - 1),
		ResolvedAddressFilter: &matcherv3.AddressMatcher{},
	}
	for _, r := range endpoints.Unreachable() {
		cache.ResolvedAddressFilter.Ranges = append(cache.ResolvedAddressFilter.Ranges, &xdsv3.CidrRange{
			AddressPrefix: r.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(r.Bits())),
		})
	}
	// Envoy rejects a second cache with the name of the first one that has other settings.
	cache.Name += settingsSuffix(packed(cache).GetValue())
	return cache
}

// guard denies requests to the ports of Envoy's own pods, if whoever sends a request says where it goes.
func (c *clusterUse) guard(options *upstreamhttpv3.HttpProtocolOptions) {
	if !c.byRequest() {
		return
	}
	var denied []*rbacconfigv3.Permission
	for _, port := range PodPorts {
		denied = append(denied, &rbacconfigv3.Permission{Rule: &rbacconfigv3.Permission_Matcher{
			Matcher: &corev3.TypedExtensionConfig{
				Name: "envoy.rbac.matchers.upstream_ip_port", TypedConfig: packed(&upstreamipv3.UpstreamIpPortMatcher{
					UpstreamPortRange: &typev3.Int64Range{Start: int64(port), End: int64(port) + 1},
				}),
			},
		}})
	}
	rules := &rbacconfigv3.RBAC{Action: rbacconfigv3.RBAC_DENY, Policies: map[string]*rbacconfigv3.Policy{"own-ports": {
		Permissions: denied,
		Principals:  []*rbacconfigv3.Principal{{Identifier: &rbacconfigv3.Principal_Any{Any: true}}},
	}}}
	if len(options.HttpFilters) == 0 { // The last filter of a policy is this one already.
		options.HttpFilters = []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.upstream_codec",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&codecv3.UpstreamCodec{})},
		}}
	}
	options.HttpFilters = slices.Insert(options.HttpFilters, 0, &hcmv3.HttpFilter{
		Name:       "envoy.filters.http.upstream_rbac",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&rbacv3.RBAC{Rules: rules})},
	})
}
