package translator

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// MaxAddresses is the API's limit for Gateway.status.addresses.
const MaxAddresses = 16

// assignment is which of the requested addresses a Gateway has (GEP-5093).
type assignment struct {
	gateway *gatewayRow
	fleet   FleetStatus
	// got has the address for each request, nil if the Gateway does not have it.
	got []*gwapiv1.GatewayStatusAddress
}

// assign gives each request a different address of the Service. The least specific requests come last.
func (g *gatewayRow) assign(fleet FleetStatus) *assignment {
	asked := g.Gateway.Spec.Addresses
	a := &assignment{gateway: g, fleet: fleet, got: make([]*gwapiv1.GatewayStatusAddress, len(asked))}
	var taken []string
	for _, turn := range []func(*gwapiv1.GatewaySpecAddress) bool{
		func(s *gwapiv1.GatewaySpecAddress) bool { return s.Value != "" },
		func(s *gwapiv1.GatewaySpecAddress) bool {
			return s.Routability == gwapiv1.GatewayAddressRoutabilityCluster
		},
		func(*gwapiv1.GatewaySpecAddress) bool { return true },
	} {
		for i := range asked {
			if a.got[i] != nil || !turn(&asked[i]) || a.hopeless(i) != nil {
				continue
			}
			if found := fleet.address(&asked[i], taken); found != nil {
				a.got[i], taken = found, append(taken, found.Value)
			}
		}
	}
	return a
}

// address returns an address of the Service that is as requested and not taken; nil if there is none. A request without
// a value and a scope gets one that the Service has anyway.
func (f *FleetStatus) address(asked *gwapiv1.GatewaySpecAddress, taken []string) *gwapiv1.GatewayStatusAddress {
	cluster := asked.Routability == gwapiv1.GatewayAddressRoutabilityCluster
	candidates := f.Addresses
	if asked.Value != "" || cluster {
		candidates = slices.Concat(f.Addresses, f.Static)
	}
	for _, c := range candidates {
		switch {
		case slices.Contains(taken, c.Value) || addressType(c.Type) != addressType(asked.Type):
		case asked.Value != "" && !sameAddress(asked.Value, c.Value):
		case cluster && deref(c.Routability) != gwapiv1.GatewayAddressRoutabilityCluster:
		default:
			if asked.Routability == sentinel {
				c.Routability = &asked.Routability
			}
			return &c
		}
	}
	return nil
}

// sameAddress compares IP addresses. IPv6 addresses have several spellings.
func sameAddress(a, b string) bool {
	x, err := netip.ParseAddr(a)
	if err != nil {
		return a == b
	}
	y, err := netip.ParseAddr(b)
	return err == nil && x == y
}

// hopeless says why no cluster can provide a requested address; nil if one can.
func (a *assignment) hopeless(i int) *verdict.Problem { return a.gateway.addressProblem(i) }

func (g *gatewayRow) addressProblem(i int) *verdict.Problem {
	below := fmt.Sprintf("spec.addresses[%d].", i)
	for k := range g.Problems {
		if strings.HasPrefix(g.Problems[k].Field, below) {
			return &g.Problems[k]
		}
	}
	return nil
}

// hopeless reports whether no cluster can provide any of the addresses that the Gateway requests.
func (g *gatewayRow) hopeless() bool {
	for i := range g.Gateway.Spec.Addresses {
		if g.addressProblem(i) == nil {
			return false
		}
	}
	return len(g.Gateway.Spec.Addresses) > 0
}

// addresses are the addresses of the Gateway. If it requests some, they are those of them that it has.
func (a *assignment) addresses() []gwapiv1.GatewayStatusAddress {
	if len(a.got) == 0 {
		return a.fleet.Addresses
	}
	var all []gwapiv1.GatewayStatusAddress
	for _, address := range a.got {
		if address != nil {
			all = append(all, *address)
		}
	}
	return all
}

// unmet says why the Gateway does not have requested addresses. With valued set it does so only for those with a value.
func (a *assignment) unmet(valued bool) []string {
	var all []string
	for i := range a.got {
		asked := &a.gateway.Gateway.Spec.Addresses[i]
		if a.got[i] != nil || valued && asked.Value == "" {
			continue
		}
		switch p := a.hopeless(i); {
		case p != nil:
			all = append(all, p.String())
		case a.fleet.Failure != "":
			all = append(all, fmt.Sprintf("spec.addresses[%d]: %s", i, a.fleet.Failure))
		default:
			all = append(all, fmt.Sprintf("spec.addresses[%d]: the Gateway's Service does not have %s", i, askedFor(asked)))
		}
	}
	return all
}

// askedFor describes an address that is asked for.
func askedFor(a *gwapiv1.GatewaySpecAddress) string {
	text := "an address of type " + string(addressType(a.Type))
	if a.Value != "" {
		text = "the requested " + a.Value
	}
	if a.Routability != gwapiv1.GatewayAddressRoutabilityDefault {
		text += fmt.Sprintf(" with routability %s", a.Routability)
	}
	text += " yet"
	if a.Value != "" && a.Routability == gwapiv1.GatewayAddressRoutabilityCluster {
		text += "; if it has another cluster IP, delete it, and it is made again"
	}
	return text
}

// none reports whether the Gateway requests addresses and has none of them.
func (a *assignment) none() bool { return len(a.got) > 0 && len(a.addresses()) == 0 }

// condition is AddressesAssigned, nil until the Service exists.
func (a *assignment) condition() *metav1.Condition {
	c := &metav1.Condition{Type: string(gwapiv1.GatewayConditionAddressesAssigned), Status: metav1.ConditionFalse}
	unmet := a.unmet(false)
	switch {
	case !a.gateway.hopeless() && len(a.fleet.Addresses) == 0 &&
		(len(a.got) == 0 || len(a.fleet.Static) == 0 && a.fleet.Failure == ""):
		return nil
	case len(unmet) == 0:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, string(gwapiv1.GatewayReasonAddressesAssigned),
			"All addresses are assigned."
		return c
	case a.none():
		c.Reason = string(gwapiv1.GatewayReasonAddressesNotAssigned)
	default:
		c.Reason = string(gwapiv1.GatewayReasonAddressesPartiallyAssigned)
	}
	c.Message = strings.Join(unmet, "\n")
	return c
}

// tell puts as many addresses into the Gateway's status as the API allows, and reports the others in the condition
// Programmed.
func (a *assignment) tell(status *gwapiv1.GatewayStatus, programmed *metav1.Condition) {
	all := a.addresses()
	status.Addresses = all[:min(len(all), MaxAddresses)]
	if len(all) > MaxAddresses {
		programmed.Message += fmt.Sprintf("; the Gateway has %d addresses, of which its status can list the first %d",
			len(all), MaxAddresses)
	}
}

// withoutRoutability are the addresses as a CRD without the field stores them.
func withoutRoutability(addresses []gwapiv1.GatewayStatusAddress) []gwapiv1.GatewayStatusAddress {
	stored := slices.Clone(addresses)
	for i := range stored {
		stored[i].Routability = nil
	}
	return stored
}
