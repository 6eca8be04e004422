package service

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// timeWait is how long the kernel remembers the translation of a TCP connection that has ended, in seconds. With its
// default of 120, some 2,000 new connections a second fill its table, and it drops what comes next.
const timeWait = "10"

func shortenTimeWait() error {
	if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait", []byte(timeWait),
		0o644); err != nil {
		return fmt.Errorf("let ended connections be forgotten sooner: %w", err)
	}
	return nil
}

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
	kind := netlink.InetFamily(unix.AF_INET)
	if f.Addr.Is6() {
		kind = unix.AF_INET6
	}
	_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, kind, filter)
}
