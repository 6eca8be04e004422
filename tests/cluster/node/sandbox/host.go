package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is the network namespace in which sandboxes are made and to which they are connected.
type Host struct {
	gateway netip.Addr
	calls   chan func()
	done    chan struct{}
	own     *os.File
	devices int
}

// NewHost makes the calling goroutine's network namespace the one that pods are connected to. Gateway must be an
// address of that namespace; it is the next hop of every pod. Pods must have addresses of the range; whatever is sent to one
// that no pod has is refused. Close ends every container that still runs.
func NewHost(gateway netip.Addr, pods netip.Prefix) (*Host, error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the node's network namespace: %w", err)
	}
	for name, value := range map[string]string{
		"ip_forward": "1",
		// Refusals by ICMP must all be sent: clients of a closed UDP port would time out instead.
		"icmp_ratelimit": "0",
	} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644); err != nil {
			return nil, errors.Join(fmt.Errorf("set net.ipv4.%s: %w", name, err), own.Close())
		}
	}
	refuse := &netlink.Route{Type: unix.RTN_UNREACHABLE, Dst: &net.IPNet{IP: pods.Masked().Addr().AsSlice(), Mask: net.CIDRMask(pods.Bits(), 32)}}
	if err := netlink.RouteReplace(refuse); err != nil {
		return nil, errors.Join(fmt.Errorf("add route for pods that are gone: %w", err), own.Close())
	}
	h := &Host{gateway: gateway, calls: make(chan func()), done: make(chan struct{}), own: own}
	go h.loop()
	return h, nil
}

// Close ends the thread that started the containers, and with it, by their parent-death signal, the containers.
func (h *Host) Close() error {
	close(h.calls)
	<-h.done
	return h.own.Close()
}

// Network returns the host's own namespace, for pods that want no other.
func (h *Host) Network() *Network { return &Network{Addr: h.gateway, host: h, ns: h.own} }

// loop runs calls on one thread that lives as long as the Host. Containers are children of that thread and are
// killed when it ends, so that none can outlive the agent. The thread is not given back to the runtime: it ends.
func (h *Host) loop() {
	runtime.LockOSThread()
	defer close(h.done)
	for call := range h.calls {
		call()
	}
}

// do runs f on the host's thread, in the host's network namespace, and waits for it.
func (h *Host) do(f func() error) error {
	result := make(chan error, 1)
	h.calls <- func() { result <- f() }
	return <-result
}

// within runs f on the host's thread with that thread moved to another network namespace.
func (h *Host) within(ns *os.File, f func() error) error {
	return h.do(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the pod's network namespace: %w", err)
		}
		return errors.Join(f(), h.back())
	})
}

// back returns the host's thread to the host's namespace. Nothing sensible can follow if the kernel refuses this.
func (h *Host) back() error {
	if err := unix.Setns(int(h.own.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("return to the node's network namespace: %w", err)
	}
	return nil
}
