package translator

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// MaxAddresses is the API's limit for Gateway.status.addresses.
const MaxAddresses = 16

// StaticAddresses are the IP addresses that the Gateway asks for and a Service can ask for in turn, in order and each once.
func StaticAddresses(g *gwapiv1.Gateway) []netip.Addr {
	var asked []netip.Addr
	for _, a := range g.Spec.Addresses {
		if ip, err := requested(a); err == nil && ip.IsValid() && !slices.Contains(asked, ip) {
			asked = append(asked, ip)
		}
	}
	return asked
}

// requested is the IP address that is asked for. It is not valid if any address will do; an error tells why it cannot be had.
func requested(a gwapiv1.GatewaySpecAddress) (netip.Addr, error) {
	switch {
	case addressType(a.Type) != gwapiv1.IPAddressType:
		return netip.Addr{}, fmt.Errorf("a Gateway cannot ask for a host name; ask for an IP address, and point the DNS name at it")
	case a.Value == "":
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(a.Value)
	switch {
	case err != nil || ip.Zone() != "":
		return netip.Addr{}, fmt.Errorf("that is no IP address; write one such as 192.0.2.1")
	case ip.IsUnspecified() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast():
		return netip.Addr{}, fmt.Errorf("no Service can have an unspecified, loopback or link-local address; ask for another one")
	}
	return ip, nil
}

// ipFamily says at which addresses a fleet's Envoys listen.
func ipFamily(ep *v1alpha1.EnvoyProxy) v1alpha1.IPFamily {
	if ep == nil || ep.Spec.IPFamily == nil {
		return v1alpha1.IPFamilyIPv4
	}
	return *ep.Spec.IPFamily
}

// listened tells whether Envoys of a family listen at an address.
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

// addressProblems tells of the addresses that the Gateway cannot have, whatever the cluster is like.
func addressProblems(g *gwapiv1.Gateway, family v1alpha1.IPFamily) []verdict.Problem {
	var problems []verdict.Problem
	for i, a := range g.Spec.Addresses {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		kind := addressType(a.Type)
		if kind != gwapiv1.IPAddressType && kind != gwapiv1.HostnameAddressType {
			problems = append(problems, verdict.Problem{
				Field: field + ".type", Reason: string(gwapiv1.GatewayReasonUnsupportedAddress), Weight: verdict.Invalid,
				Message: fmt.Sprintf("addresses of type %q are not served; use %s, or leave addresses out", kind, gwapiv1.IPAddressType),
			})
			continue
		}
		p := verdict.Problem{
			Field: field + ".value", Reason: string(gwapiv1.GatewayReasonAddressNotUsable), Weight: verdict.Unresolved,
			Condition: string(gwapiv1.GatewayConditionProgrammed),
		}
		switch ip, err := requested(a); {
		case err != nil:
			p.Message = fmt.Sprintf("%s %q: %v", kind, a.Value, err)
			if kind == gwapiv1.IPAddressType {
				p.Weight = verdict.Invalid
			}
			problems = append(problems, p)
		case ip.IsValid() && !listened(family, ip):
			p.Message = fmt.Sprintf("%s %q: the Gateway's Envoys listen at %s addresses only; set ipFamily of its EnvoyProxy to DualStack, or ask for another address",
				kind, a.Value, family)
			problems = append(problems, p)
		}
	}
	return problems
}

// addressesOf are the addresses at which the Gateway is reached: if it asks for some, those of the Service that were asked for.
func addressesOf(g *gwapiv1.Gateway, fleet Fleet) []gwapiv1.GatewayStatusAddress {
	if len(StaticAddresses(g)) > 0 {
		return fleet.Static
	}
	return fleet.Addresses
}

// unassigned are the addresses that the Gateway asks for and its Service does not have.
func unassigned(g *gwapiv1.Gateway, fleet Fleet) []netip.Addr {
	return slices.DeleteFunc(StaticAddresses(g), func(ip netip.Addr) bool {
		return slices.ContainsFunc(fleet.Static, func(has gwapiv1.GatewayStatusAddress) bool {
			at, err := netip.ParseAddr(has.Value)
			return err == nil && at == ip
		})
	})
}

// setAddresses tells of the addresses in the Gateway's status, as many as the API allows, and in its condition Programmed.
func setAddresses(g *gwapiv1.Gateway, fleet Fleet, status *gwapiv1.GatewayStatus, programmed *metav1.Condition) {
	all := addressesOf(g, fleet)
	status.Addresses = all[:min(len(all), MaxAddresses)]
	if len(all) > MaxAddresses {
		programmed.Message += fmt.Sprintf("; the Gateway has %d addresses, of which its status can list the first %d", len(all), MaxAddresses)
	}
}

func notOfService(missing []netip.Addr) string {
	texts := make([]string, len(missing))
	for i, ip := range missing {
		texts[i] = ip.String()
	}
	return fmt.Sprintf("the Gateway's Service does not have the requested %s yet", strings.Join(texts, ", "))
}
