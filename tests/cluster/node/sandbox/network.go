package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Network is a pod's network namespace, connected to the host by a routed pair of links.
type Network struct {
	// Addr is the pod's only address, besides loopback.
	Addr netip.Addr

	host *Host
	ns   *os.File
	link string
}

// NewNetwork makes a network namespace with the given address, reachable from the host and, through it, from every
// other pod. There is no bridge: each pod has a /32 and its next hop is the host, so that all traffic passes the host's
// netfilter hooks and keeps its source address.
func (h *Host) NewNetwork(addr netip.Addr) (*Network, error) {
	n := &Network{Addr: addr, host: h}
	err := h.do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		if n.ns, err = os.Open("/proc/thread-self/ns/net"); err == nil {
			err = loopbackOnly()
		}
		h.devices++
		n.link = fmt.Sprintf("pod%d", h.devices)
		return errors.Join(err, h.back())
	})
	if err == nil {
		err = n.connect()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network of pod address %s: %w", addr, err), n.Close())
	}
	return n, nil
}

// Close removes the pod's link. Processes of the pod should have ended before: their peers would otherwise wait for
// answers that cannot come.
func (n *Network) Close() error {
	if n.ns == nil {
		return nil
	}
	var removed error
	if link, err := netlink.LinkByName(n.link); err == nil {
		removed = netlink.LinkDel(link)
	}
	return errors.Join(removed, n.ns.Close())
}

// loopbackOnly prepares the calling thread's new namespace: no IPv6 on links to come, and every port open to all users.
func loopbackOnly() error {
	for name, value := range map[string]string{
		"ipv6/conf/default/disable_ipv6":  "1",
		"ipv4/ip_unprivileged_port_start": "0",
	} {
		err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set net/%s: %w", name, err)
		}
	}
	return nil
}

// connect makes both ends of the link, and the addresses and routes on both sides.
func (n *Network) connect() error {
	inside, err := netlink.NewHandleAt(nsHandle(n.ns))
	if err != nil {
		return fmt.Errorf("open a netlink socket in the namespace: %w", err)
	}
	defer inside.Close()
	link := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: n.link, MTU: 65535},
		PeerName:      "eth0",
		PeerMTU:       65535,
		PeerNamespace: netlink.NsFd(int(n.ns.Fd())),
	}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("add link %s: %w", n.link, err)
	}
	if err := n.connectHost(link); err != nil {
		return fmt.Errorf("host side: %w", err)
	}
	if err := n.connectPod(inside); err != nil {
		return fmt.Errorf("pod side: %w", err)
	}
	return nil
}

func (n *Network) connectHost(link netlink.Link) error {
	gateway := n.host.gateway
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: single(gateway)}); err != nil {
		return fmt.Errorf("add address %s: %w", gateway, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link up: %w", err)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: single(n.Addr), Src: gateway.AsSlice(), Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("add route to %s: %w", n.Addr, err)
	}
	return nil
}

func (n *Network) connectPod(inside *netlink.Handle) error {
	loopback, err := inside.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	for _, link := range []netlink.Link{loopback, eth0} {
		if err := inside.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", link.Attrs().Name, err)
		}
	}
	if err := inside.AddrAdd(eth0, &netlink.Addr{IPNet: single(n.Addr)}); err != nil {
		return fmt.Errorf("add address %s: %w", n.Addr, err)
	}
	route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: n.host.gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
	if err := inside.RouteAdd(route); err != nil {
		return fmt.Errorf("add default route by %s: %w", n.host.gateway, err)
	}
	return nil
}

// single returns the network that holds one address only.
func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
