package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gatehouse/tests/cluster/node/family"
)

// hostNamespace is the file descriptor by which the supervisor inherits the host's network namespace.
const hostNamespace = 3

// prepareMounts gives the supervisor's mount namespace a /proc of its own process namespace, and cuts the namespace
// off, so that no mount made here is ever seen outside.
func prepareMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}

// prepareNetwork sets up the node's own addresses, and a default route of IPv4, without which Kubernetes does not find
// its address. The route leads to a link with nobody at the other end: what leaves the cluster gets "no route to host".
func prepareNetwork(families []family.Family) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback link: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("bringing the loopback link up: %w", err)
	}
	for _, f := range families {
		if err := netlink.AddrAdd(loopback, &netlink.Addr{IPNet: family.Single(f.Gateway)}); err != nil {
			return fmt.Errorf("adding the node's address %s: %w", f.Gateway, err)
		}
	}
	const name, peer = "outside", "nobody"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer}); err != nil {
		return fmt.Errorf("adding the link of the default route: %w", err)
	}
	for _, end := range []string{peer, name} {
		link, err := netlink.LinkByName(end)
		if err != nil {
			return fmt.Errorf("finding link %s: %w", end, err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("bringing link %s up: %w", end, err)
		}
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding link %s: %w", name, err)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Src: gateway.AsSlice()}
	route.Dst = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("adding the default route: %w", err)
	}
	return nil
}

// listenOnHost listens in the host's network namespace. A socket stays in the namespace that it was made in, so only
// its making needs a thread there. The address must be a literal, since names are looked up on other threads.
func listenOnHost(address string) (net.Listener, error) {
	type result struct {
		listener net.Listener
		err      error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine instead of coming back
		if err := unix.Setns(hostNamespace, unix.CLONE_NEWNET); err != nil {
			made <- result{err: fmt.Errorf("entering the host's network namespace: %w", err)}
			return
		}
		listener, err := net.Listen("tcp4", address)
		made <- result{listener: listener, err: err}
	}()
	r := <-made
	return r.listener, r.err
}

// hostLoopbacks are the first octets after 127 that clusters take: 127.0.0.0/16 is left to the host.
const firstLoopback, lastLoopback = 1, 254

// listenForAPI takes the first free loopback network of the host, starting at a place that depends on the directory,
// so that a cluster gets the same one each time. It returns the network's second octet.
func listenForAPI(seed uint32) (net.Listener, byte, error) {
	const count = lastLoopback - firstLoopback + 1
	for i := range uint32(count) {
		network := byte(firstLoopback + (seed+i)%count)
		listener, err := listenOnHost(apiLoopback(network))
		if errors.Is(err, unix.EADDRINUSE) {
			continue // Another cluster has it.
		}
		if err != nil {
			return nil, 0, fmt.Errorf("listening for the API server on %s: %w", apiLoopback(network), err)
		}
		return listener, network, nil
	}
	return nil, 0, fmt.Errorf("port %d of all %d loopback networks is in use", apiPort, count)
}

// apiLoopback is where the API server is published in a loopback network; load balancers get the low addresses.
func apiLoopback(network byte) string {
	return fmt.Sprintf("127.%d.255.254:%d", network, apiPort)
}

func closeOnExec(fd int) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return fmt.Errorf("inheriting file descriptor %d (start the cluster with `up`): %w", fd,
			os.NewSyscallError("fcntl", err))
	}
	return nil
}
