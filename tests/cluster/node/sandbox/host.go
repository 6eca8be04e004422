package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gatehouse/tests/cluster/node/family"
)

// Host is the network namespace in which sandboxes are made and to which they are connected.
type Host struct {
	families []family.Family
	calls    chan func()
	done     chan struct{}
	own      *os.File
	devices  int
}

// NewHost makes the calling goroutine's network namespace the one that pods are connected to. The gateways must be
// addresses of that namespace; they are the next hops of every pod. Pods must have addresses of the families' ranges;
// whatever is sent to one that no pod has is refused. Close ends every container that still runs.
func NewHost(families ...family.Family) (*Host, error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the node's network namespace: %w", err)
	}
	h := &Host{families: families, calls: make(chan func()), done: make(chan struct{}), own: own}
	if err := h.forward(); err != nil {
		return nil, errors.Join(err, own.Close())
	}
	go h.loop()
	return h, nil
}

// quietIPv6 gives links that are made later no address of their own accord, and none that waits to be used.
var quietIPv6 = map[string]string{
	"ipv6/conf/default/disable_ipv6":         "0",
	"ipv6/conf/default/addr_gen_mode":        "1",
	"ipv6/conf/default/accept_dad":           "0",
	"ipv6/conf/default/router_solicitations": "0",
}

// forward makes the namespace a router between pods.
func (h *Host) forward() error {
	settings := map[string]string{
		"ipv4/ip_forward": "1",
		// Refusals by ICMP must all be sent: clients of a closed UDP port would time out instead.
		"ipv4/icmp_ratelimit": "0",
	}
	if h.hasIPv6() {
		maps.Copy(settings, quietIPv6)
		settings["ipv6/conf/all/forwarding"] = "1"
		settings["ipv6/icmp/ratelimit"] = "0"
	}
	if err := set(settings); err != nil {
		return err
	}
	for _, f := range h.families {
		refuse := &netlink.Route{Type: unix.RTN_UNREACHABLE, Dst: family.Net(f.Pods)}
		if err := netlink.RouteReplace(refuse); err != nil {
			return fmt.Errorf("add route for pods of %s that are gone: %w", f.Pods, err)
		}
	}
	return nil
}

// set writes settings of the calling thread's network namespace.
func set(settings map[string]string) error {
	for name, value := range settings {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set net/%s: %w", name, err)
		}
	}
	return nil
}

func (h *Host) hasIPv6() bool {
	return slices.ContainsFunc(h.families, func(f family.Family) bool { return f.Gateway.Is6() })
}

// Close ends the thread that started the containers, and with it, by their parent-death signal, the containers.
func (h *Host) Close() error {
	close(h.calls)
	<-h.done
	return h.own.Close()
}

// Network returns the host's own namespace, for pods that want no other.
func (h *Host) Network() *Network {
	n := &Network{host: h, ns: h.own}
	for _, f := range h.families {
		n.Addrs = append(n.Addrs, f.Gateway)
	}
	return n
}

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
