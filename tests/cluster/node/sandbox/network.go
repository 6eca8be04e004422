package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gatehouse/tests/cluster/node/family"
)

// Network is a pod's network namespace, connected to the host by a routed pair of links.
type Network struct {
	// Addrs are the pod's only addresses, besides loopback: one of each of the host's families, in their order.
	Addrs []netip.Addr

	host *Host
	ns   *os.File
	link string
}

// NewNetwork makes a network namespace with the given addresses, one of each of the host's families, reachable from the
// host and, through it, from every other pod. There is no bridge: each pod has a /32 or /128 and its next hop is the
// host, so that all traffic passes the host's netfilter hooks and keeps its source address.
func (h *Host) NewNetwork(addrs ...netip.Addr) (*Network, error) {
	n := &Network{Addrs: addrs, host: h}
	err := h.do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		if n.ns, err = os.Open("/proc/thread-self/ns/net"); err == nil {
			err = h.loopbackOnly()
		}
		h.devices++
		n.link = fmt.Sprintf("pod%d", h.devices)
		return errors.Join(err, h.back())
	})
	if err == nil {
		err = n.connect()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network of pod addresses %s: %w", addrs, err), n.Close())
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

// loopbackOnly prepares the calling thread's new namespace: every port open to all users, and links to come with no
// other addresses than they are given.
func (h *Host) loopbackOnly() error {
	settings := map[string]string{"ipv4/ip_unprivileged_port_start": "0"}
	if h.hasIPv6() {
		maps.Copy(settings, quietIPv6)
	}
	return set(settings)
}

// Addr is the pod's address of the first family.
func (n *Network) Addr() netip.Addr { return n.Addrs[0] }

// connect makes both ends of the link, and the addresses and routes on both sides.
func (n *Network) connect() error {
	inside, err := netlink.NewHandleAt(nsHandle(n.ns))
	if err != nil {
		return fmt.Errorf("open a netlink socket in the namespace: %w", err)
	}
	defer inside.Close()
	link := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: n.link, MTU: 65535, HardwareAddr: hostEnd},
		PeerName:         "eth0",
		PeerMTU:          65535,
		PeerHardwareAddr: podEnd,
		PeerNamespace:    netlink.NsFd(int(n.ns.Fd())),
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

// hostEnd and podEnd are the hardware addresses of both ends of every pair of links. Each end knows that of the other,
// so that it need not ask: for forwarded packets of IPv6 the host could not, since its links have no link-local
// address.
var hostEnd, podEnd = net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}

func neighbour(link netlink.Link, addr netip.Addr, at net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: link.Attrs().Index, IP: addr.AsSlice(), HardwareAddr: at,
		State: netlink.NUD_PERMANENT,
	}
}

func (n *Network) connectHost(link netlink.Link) error {
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link up: %w", err)
	}
	for i, addr := range n.Addrs {
		gateway := n.host.families[i].Gateway
		if err := netlink.AddrAdd(link, address(gateway)); err != nil {
			return fmt.Errorf("add address %s: %w", gateway, err)
		}
		route := &netlink.Route{
			LinkIndex: link.Attrs().Index, Dst: family.Single(addr), Src: gateway.AsSlice(),
			Scope: netlink.SCOPE_LINK,
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("add route to %s: %w", addr, err)
		}
		if err := netlink.NeighSet(neighbour(link, addr, podEnd)); err != nil {
			return fmt.Errorf("add neighbour %s: %w", addr, err)
		}
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
	for i, addr := range n.Addrs {
		gateway := n.host.families[i].Gateway
		if err := inside.AddrAdd(eth0, address(addr)); err != nil {
			return fmt.Errorf("add address %s: %w", addr, err)
		}
		route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		if err := inside.RouteAdd(route); err != nil {
			return fmt.Errorf("add default route by %s: %w", gateway, err)
		}
		if err := inside.NeighSet(neighbour(eth0, gateway, hostEnd)); err != nil {
			return fmt.Errorf("add neighbour %s: %w", gateway, err)
		}
	}
	return nil
}

// address returns an address for a link. Of IPv6, nobody is asked whether another has it, which would take a second.
func address(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: family.Single(a)}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}
