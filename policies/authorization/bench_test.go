package authorization

import (
	"fmt"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// BenchmarkRanges compares what is done with a policy of 500 ranges, which each of the three functions reads for
// itself, with reading them once.
func BenchmarkRanges(b *testing.B) {
	var ranges []v1alpha1.CIDR
	for i := range 500 {
		ranges = append(ranges, v1alpha1.CIDR(fmt.Sprintf("10.%d.%d.0/24", i/250, i%250)))
	}
	spec := &v1alpha1.SecurityPolicySpec{Authorization: &v1alpha1.Authorization{Rules: []v1alpha1.AuthorizationRule{
		{Action: v1alpha1.AuthorizationActionAllow, Principal: &v1alpha1.Principal{ClientCIDRs: ranges}},
	}}}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			read(spec)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			check(spec)
			route(spec, feature.Have{}, &feature.Route{Route: &routev3.Route{}})
			connection(spec, feature.Have{}, &feature.Connection{})
		}
	})
}
