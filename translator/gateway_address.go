package translator

import (
	"fmt"
	"net/netip"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// sentinel is a routability without a meaning. Gateway API's conformance suite requests it and expects it to be
// reported (GEP-5093).
const sentinel gwapiv1.GatewayAddressRoutabilityType = "testing.x-k8s.io/sentinel"

// StaticAddresses are the IP addresses that the Gateway requests and that a Service can request for it, in order and
// without duplicates: those that may be reached from anywhere, and those that must be cluster IPs. Addresses that the
// Gateway cannot have are left out: those with a scope that is not served (GEP-5093), or of a family on which the
// Envoys of the EnvoyProxy do not listen. The EnvoyProxy may be nil.
func StaticAddresses(g *gwapiv1.Gateway, ep *v1alpha1.EnvoyProxy) (anywhere, cluster []netip.Addr) {
	for i := range g.Spec.Addresses {
		a := &g.Spec.Addresses[i]
		ip, err := requested(*a)
		if err != nil || !ip.IsValid() || addressProblem(a, ipFamily(ep)) != nil {
			continue
		}
		scope := &anywhere
		if a.Routability == gwapiv1.GatewayAddressRoutabilityCluster {
			scope = &cluster
		}
		if !slices.Contains(*scope, ip) {
			*scope = append(*scope, ip)
		}
	}
	return anywhere, cluster
}

// Exposed reports whether the Service has the type of the EnvoyProxy. It has not if all requested addresses have a
// narrower scope.
func Exposed(g *gwapiv1.Gateway) bool {
	return len(g.Spec.Addresses) == 0 || slices.ContainsFunc(g.Spec.Addresses, func(a gwapiv1.GatewaySpecAddress) bool {
		return a.Routability == gwapiv1.GatewayAddressRoutabilityDefault || a.Routability == sentinel
	})
}

// requested is the requested IP address. It is not valid if any address is possible. The error says why the Gateway
// cannot have it.
func requested(a gwapiv1.GatewaySpecAddress) (netip.Addr, error) {
	kind := addressType(a.Type)
	switch {
	case kind == gwapiv1.HostnameAddressType && a.Value == "":
		return netip.Addr{}, nil
	case kind != gwapiv1.IPAddressType:
		return netip.Addr{}, fmt.Errorf("a Gateway cannot ask for a host name: ask for an IP address, and point the DNS name at it")
	case a.Value == "":
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(a.Value)
	switch {
	case err != nil || ip.Zone() != "":
		return netip.Addr{}, fmt.Errorf("that is not an IP address: write one such as 192.0.2.1")
	case ip.IsUnspecified() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast():
		return netip.Addr{}, fmt.Errorf("no Service can have an unspecified, loopback or link-local address: ask for another one")
	}
	return ip, nil
}

// ipFamily is the IP family of the addresses at which a fleet's Envoys listen.
func ipFamily(ep *v1alpha1.EnvoyProxy) v1alpha1.IPFamily {
	if ep == nil || ep.Spec.IPFamily == nil {
		return v1alpha1.IPFamilyIPv4
	}
	return *ep.Spec.IPFamily
}

// listened reports whether Envoys of a family listen at an address.
func listened(family v1alpha1.IPFamily, ip netip.Addr) bool {
	switch family {
	case v1alpha1.IPFamilyDualStack:
		return true
	case v1alpha1.IPFamilyIPv6:
		return ip.Is6()
	default:
		return ip.Is4()
	}
}

// addressType is IPAddress unless another one is named.
func addressType(t *gwapiv1.AddressType) gwapiv1.AddressType {
	if t == nil {
		return gwapiv1.IPAddressType
	}
	return *t
}

// addressProblems reports addresses that the Gateway cannot have in any cluster.
func addressProblems(g *gwapiv1.Gateway, family v1alpha1.IPFamily) []verdict.Problem {
	var problems []verdict.Problem
	for i := range g.Spec.Addresses {
		if p := addressProblem(&g.Spec.Addresses[i], family); p != nil {
			p.Field = fmt.Sprintf("spec.addresses[%d].%s", i, p.Field)
			problems = append(problems, *p)
		}
	}
	return problems
}

// addressProblem says why the Gateway cannot have the address, with a field below it; nil if it can.
func addressProblem(a *gwapiv1.GatewaySpecAddress, family v1alpha1.IPFamily) *verdict.Problem {
	kind := addressType(a.Type)
	if kind != gwapiv1.IPAddressType && kind != gwapiv1.HostnameAddressType {
		return &verdict.Problem{
			Field: "type", Reason: string(gwapiv1.GatewayReasonUnsupportedAddress), Weight: verdict.Invalid,
			Message: fmt.Sprintf("addresses of type %q are not served: use %s, or leave addresses out", kind,
				gwapiv1.IPAddressType),
		}
	}
	if p := routabilityProblem(a); p != nil {
		return p
	}
	p := &verdict.Problem{
		Field: "value", Reason: string(gwapiv1.GatewayReasonAddressNotUsable), Weight: verdict.Unresolved,
		Condition: string(gwapiv1.GatewayConditionProgrammed),
	}
	switch ip, err := requested(*a); {
	case err != nil:
		p.Message = fmt.Sprintf("%s %q: %v", kind, a.Value, err)
		if kind == gwapiv1.IPAddressType {
			p.Weight = verdict.Invalid
		}
		return p
	case ip.IsValid() && !listened(family, ip):
		p.Message = fmt.Sprintf("%s %q: the Gateway's Envoys listen at %s addresses only: set ipFamily of its EnvoyProxy to DualStack, or ask for another address",
			kind, a.Value, family)
		return p
	}
	return nil
}

// routabilityProblem says why the scope of the address is not served; nil if it is. The other addresses of the Gateway
// are served in any case.
func routabilityProblem(a *gwapiv1.GatewaySpecAddress) *verdict.Problem {
	p := &verdict.Problem{
		Field: "routability", Reason: string(gwapiv1.GatewayReasonAddressesNotAssigned), Weight: verdict.Unresolved,
		Condition: string(gwapiv1.GatewayConditionAddressesAssigned),
	}
	switch a.Routability {
	case gwapiv1.GatewayAddressRoutabilityDefault, sentinel:
		return nil
	case gwapiv1.GatewayAddressRoutabilityCluster:
		if addressType(a.Type) == gwapiv1.IPAddressType {
			return nil
		}
		p.Message = fmt.Sprintf("%s is for addresses of type %s: use that type", a.Routability, gwapiv1.IPAddressType)
	default:
		p.Message = fmt.Sprintf("%q is not served: use %s, or leave it out", a.Routability,
			gwapiv1.GatewayAddressRoutabilityCluster)
	}
	return p
}
