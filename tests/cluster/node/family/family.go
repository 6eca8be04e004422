// Package family has what a cluster hands out of each family of the Internet protocol.
package family

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Family is the addresses of one family.
type Family struct {
	// Gateway is the node's own address inside the namespace, and every pod's next hop.
	Gateway netip.Addr
	// Pods, Services and LoadBalancers are the ranges that these get their addresses from.
	Pods, Services, LoadBalancers netip.Prefix
}

// Enable switches IPv6 on for the calling thread's network namespace and returns all of the families. If the kernel has
// no IPv6, it returns those of IPv4.
func Enable(families ...Family) ([]Family, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	switch {
	case err == nil:
		enabled := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("0"), 0o644)
		return families, errors.Join(enabled, unix.Close(fd))
	case !errors.Is(err, unix.EAFNOSUPPORT):
		return nil, fmt.Errorf("find out whether the kernel has IPv6: %w", err)
	}
	var supported []Family
	for _, f := range families {
		if f.Gateway.Is4() {
			supported = append(supported, f)
		}
	}
	return supported, nil
}

// Net returns a range as the standard library and netlink have it.
func Net(p netip.Prefix) *net.IPNet {
	p = p.Masked()
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Single returns the range that holds one address only.
func Single(a netip.Addr) *net.IPNet { return Net(netip.PrefixFrom(a, a.BitLen())) }
