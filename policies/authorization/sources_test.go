package authorization

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// TestSourcesDecideAsRules: for every address, the longest range gives the same decision as the first rule that
// matches.
func TestSourcesDecideAsRules(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	address := func() netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(random.IntN(2)), byte(random.IntN(2)), byte(random.IntN(4))})
	}
	for range 2000 {
		spec := &v1alpha1.SecurityPolicySpec{Authorization: &v1alpha1.Authorization{}}
		action := func() v1alpha1.AuthorizationAction {
			return []v1alpha1.AuthorizationAction{
				v1alpha1.AuthorizationActionAllow,
				v1alpha1.AuthorizationActionDeny,
			}[random.IntN(2)]
		}
		if random.IntN(2) == 0 {
			spec.Authorization.DefaultAction = new(action())
		}
		for range random.IntN(5) {
			rule := v1alpha1.AuthorizationRule{Action: action(), Principal: &v1alpha1.Principal{}}
			for range 1 + random.IntN(3) {
				rule.Principal.ClientCIDRs = append(rule.Principal.ClientCIDRs,
					v1alpha1.CIDR(netip.PrefixFrom(address(), random.IntN(33)).String()))
			}
			spec.Authorization.Rules = append(spec.Authorization.Rules, rule)
		}
		connection := feature.Connection{}
		Feature.Connection(spec, feature.Have{}, &connection)
		decided := connection.Sources
		for range 20 {
			client := address()
			_, want, _ := understood(spec)
			for _, rule := range spec.Authorization.Rules {
				if contains(rule.Principal.ClientCIDRs, netip.PrefixFrom(client, 32)) {
					want = rule.Action
					break
				}
			}
			allowed, denied := longest(decided.Allowed, client), longest(decided.Denied, client)
			if got := allowed > denied; allowed == denied || got != (want == v1alpha1.AuthorizationActionAllow) {
				t.Fatalf("%s of %+v: allowed by /%d, denied by /%d, want %s", client, spec.Authorization, allowed, denied, want)
			}
		}
	}
}

// longest is the length of the longest range that contains the address, -1 if there is none.
func longest(ranges []netip.Prefix, address netip.Addr) int {
	most := -1
	for _, r := range ranges {
		if r.Contains(address) {
			most = max(most, r.Bits())
		}
	}
	return most
}

// contains reports whether one of the ranges contains the whole of another.
func contains(cidrs []v1alpha1.CIDR, all netip.Prefix) bool {
	return slices.ContainsFunc(cidrs, func(cidr v1alpha1.CIDR) bool {
		prefix, err := feature.ParsePrefix(string(cidr))
		return err == nil && prefix.Bits() <= all.Bits() && prefix.Contains(all.Addr())
	})
}

// TestSourcesGrowWithTheRanges: eight times as many ranges take about eight times as long, not sixty-four.
func TestSourcesGrowWithTheRanges(t *testing.T) {
	measure := func(n int) float64 {
		spec := &v1alpha1.SecurityPolicySpec{Authorization: &v1alpha1.Authorization{Rules: []v1alpha1.AuthorizationRule{
			{Action: v1alpha1.AuthorizationActionAllow, Principal: &v1alpha1.Principal{}},
		}}}
		for i := range n {
			cidrs := &spec.Authorization.Rules[0].Principal.ClientCIDRs
			*cidrs = append(*cidrs, v1alpha1.CIDR(fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255)))
		}
		return float64(testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				Feature.Connection(spec, feature.Have{}, &feature.Connection{})
			}
		}).NsPerOp())
	}
	if few, many := measure(1000), measure(8000); many > 24*few {
		t.Errorf("1,000 ranges take %v ns, 8,000 take %v", few, many)
	}
}
