package service

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forgetFlows ends the translation of UDP flows that go to backends or come by frontends that a Service no longer has:
// the kernel would keep sending them there. TCP connections end by themselves.
func forgetFlows(old, now Chain) {
	for _, f := range old.Frontends {
		if f.Protocol != unix.IPPROTO_UDP {
			continue
		}
		if !slices.Contains(now.Frontends, f) {
			forget(f, netip.Addr{})
			continue
		}
		for _, b := range old.Backends {
			if !slices.Contains(now.Backends, b) {
				forget(f, b.Addr())
			}
		}
	}
}

// forget deletes the flows to a frontend, all or those of one backend.
func forget(f Frontend, backend netip.Addr) {
	filter := &netlink.ConntrackFilter{}
	_ = filter.AddProtocol(f.Protocol) // None of these fails on a fresh filter.
	_ = filter.AddIP(netlink.ConntrackOrigDstIP, net.IP(f.Addr.AsSlice()))
	_ = filter.AddPort(netlink.ConntrackOrigDstPort, f.Port)
	if backend.IsValid() {
		_ = filter.AddIP(netlink.ConntrackReplySrcIP, net.IP(backend.AsSlice()))
	}
	// A flow that cannot be deleted has ended already, or ends by its own time-out.
	_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
}
