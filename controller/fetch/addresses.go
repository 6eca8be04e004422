package fetch

import (
	"fmt"
	"net"
	"net/netip"

	"gatehouse/policies/endpoints"
)

// Addresses says from which addresses something may be fetched. Of the ranges that contain an address, the longest
// decides; if a range is both denied and allowed, it is denied. An address that is in no range is allowed.
type Addresses struct {
	denied map[netip.Prefix]bool
}

// deniedByDefault leads to the pod itself, to the local network link, where clouds have the credentials of machines, or
// to no single host (IANA IPv4 and IPv6 Special-Purpose Address Registries). Clouds have credentials at the last ones too.
var deniedByDefault = append([]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}, endpoints.Credentials...)

// translated is the range of IPv6 addresses that stand for the IPv4 address in their last four bytes (RFC 6052).
var translated = netip.MustParsePrefix("64:ff9b::/96")

// NewAddresses adds ranges to those that are denied by default.
func NewAddresses(allowed, denied []netip.Prefix) *Addresses {
	a := &Addresses{denied: map[netip.Prefix]bool{}}
	for _, p := range deniedByDefault {
		a.denied[p] = true
	}
	for _, p := range allowed {
		a.denied[p.Masked()] = false
	}
	for _, p := range denied {
		a.denied[p.Masked()] = true
	}
	return a
}

// Own returns the addresses of this pod, for NewAddresses, except its loopback addresses. The error is that of the
// operating system.
func Own() ([]netip.Prefix, error) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("read the addresses of the pod: %w", err)
	}
	var own []netip.Prefix
	for _, i := range interfaces {
		if p, err := netip.ParsePrefix(i.String()); err == nil && !p.Addr().IsLoopback() {
			address := p.Addr().Unmap().WithZone("")
			own = append(own, netip.PrefixFrom(address, address.BitLen()))
		}
	}
	return own, nil
}

// Allowed reports whether something may be fetched from the address.
func (a *Addresses) Allowed(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if translated.Contains(address) {
		bytes := address.As16()
		if !a.Allowed(netip.AddrFrom4([4]byte(bytes[12:]))) {
			return false
		}
	}
	for bits := address.BitLen(); bits >= 0; bits-- {
		p, err := address.Prefix(bits)
		if err != nil {
			return false // The zero address.
		}
		if denied, ok := a.denied[p]; ok {
			return !denied
		}
	}
	return address.IsValid()
}
