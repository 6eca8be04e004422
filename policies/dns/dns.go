// Package dns is the dns part of ClusterSettings: how the names of endpoints are resolved.
package dns

import (
	"time"

	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the dns part.
var Feature = feature.Feature[v1alpha1.ClusterSettings]{
	Name:  "dns",
	Check: check,
	Cluster: func(spec *v1alpha1.ClusterSettings, _ feature.Have, upstream *feature.Upstream) {
		if resolution := Resolution(spec.DNS); !proto.Equal(resolution, Resolution(nil)) {
			upstream.DNS = resolution
		}
	},
}

// defaultRefresh is how often a name is resolved if no record says it.
const defaultRefresh = 30 * time.Second

// A name that could not be resolved is tried again after a random time, which grows from the first to the second limit.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Second
)

// families are the addresses of a name that can be used.
var families = map[v1alpha1.DNSLookupFamily]commondnsv3.DnsLookupFamily{
	v1alpha1.IPv4DNSLookupFamily:          commondnsv3.DnsLookupFamily_V4_ONLY,
	v1alpha1.IPv6DNSLookupFamily:          commondnsv3.DnsLookupFamily_V6_ONLY,
	v1alpha1.IPv4PreferredDNSLookupFamily: commondnsv3.DnsLookupFamily_V4_PREFERRED,
	v1alpha1.IPv6PreferredDNSLookupFamily: commondnsv3.DnsLookupFamily_AUTO,
	v1alpha1.IPv4AndIPv6DNSLookupFamily:   commondnsv3.DnsLookupFamily_ALL,
}

func check(spec *v1alpha1.ClusterSettings) []verdict.Problem {
	if spec.DNS == nil {
		return nil
	}
	problems := feature.CheckPositive("dns.dnsRefreshRate", spec.DNS.DNSRefreshRate, defaultRefresh.String())
	if rate := spec.DNS.DNSRefreshRate; feature.Duration(rate).AsDuration() == time.Millisecond {
		problems = append(problems, feature.Invalid("dns.dnsRefreshRate", "%q is too short: write at least 2ms", *rate))
	}
	if family := spec.DNS.LookupFamily; family != nil {
		problems = append(problems, feature.CheckChoice("dns.lookupFamily", *family, families)...)
	}
	return problems
}

// Resolution is how names are resolved by a spec. Nil stands for the defaults.
func Resolution(spec *v1alpha1.DNS) *dnsv3.DnsCluster {
	if spec == nil {
		spec = &v1alpha1.DNS{}
	}
	out := &dnsv3.DnsCluster{
		RespectDnsTtl:   spec.RespectDNSTTL == nil || *spec.RespectDNSTTL,
		DnsRefreshRate:  feature.Duration(spec.DNSRefreshRate),
		DnsLookupFamily: commondnsv3.DnsLookupFamily_V4_PREFERRED,
		DnsFailureRefreshRate: &dnsv3.DnsCluster_RefreshRate{
			BaseInterval: durationpb.New(firstRetry), MaxInterval: durationpb.New(lastRetry),
		},
	}
	if out.DnsRefreshRate.AsDuration() <= time.Millisecond {
		out.DnsRefreshRate = durationpb.New(defaultRefresh)
	}
	if spec.LookupFamily != nil {
		if family, ok := families[*spec.LookupFamily]; ok {
			out.DnsLookupFamily = family
		}
	}
	return out
}
