// Package publish makes the load balancers of a cluster reachable on the loopback of a host that has no route into
// the cluster's network namespace.
package publish

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// interval is how often a published port is compared with the port inside.
const interval = 200 * time.Millisecond

// Service is a published Service.
type Service struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Address   netip.Addr `json:"address"`
	// Loopback is the host's address that stands for Address; it is not valid where Address has none.
	Loopback netip.Addr `json:"loopback,omitzero"`
	Ports    []Port     `json:"ports"`
}

// Port is a TCP port of a published Service.
type Port struct {
	Number uint16 `json:"number"`
	// Open says that something listens inside, and on the host.
	Open bool `json:"open"`
	// Problem says why the port is not published though something listens inside.
	Problem string `json:"problem,omitempty"`
}

// Publisher keeps ports of the host's loopback open exactly while something listens on those inside, so that a
// closed port refuses connections on the host as well.
type Publisher struct {
	// Listen listens on the host.
	Listen func(address string) (net.Listener, error)
	// Loopback names the host's address for an address inside, or none.
	Loopback func(netip.Addr) (netip.Addr, bool)
	// Source is the own address inside.
	Source netip.Addr
	// Changed is called with all Services, sorted, after each change of one.
	Changed func([]Service)
	Log     *slog.Logger

	mu       sync.Mutex
	services []Service
	doors    map[netip.AddrPort]*door
}

// Set replaces the published Services. Connections to one that is left out are cut.
func (p *Publisher) Set(ctx context.Context, services []Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(services, compare)
	wanted := map[netip.AddrPort]bool{}
	for i := range services {
		service := &services[i]
		if loopback, ok := p.Loopback(service.Address); ok {
			service.Loopback = loopback
		}
		for _, port := range service.Ports {
			wanted[netip.AddrPortFrom(service.Address, port.Number)] = service.Loopback.IsValid()
		}
	}
	for inside, d := range p.doors {
		if !wanted[inside] {
			d.close()
			delete(p.doors, inside)
		}
	}
	if p.doors == nil {
		p.doors = map[netip.AddrPort]*door{}
	}
	for inside, publishable := range wanted {
		if p.doors[inside] == nil && publishable {
			loopback, _ := p.Loopback(inside.Addr())
			p.doors[inside] = p.newDoor(ctx, inside, netip.AddrPortFrom(loopback, inside.Port()))
		}
	}
	p.services = services
	p.tell()
}

// Serve passes the connections of a listener on to an address inside until ctx ends; it then closes all of them.
func Serve(ctx context.Context, listener net.Listener, inside string) {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		outer, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // Out of file descriptors, most likely; it passes.
			continue
		}
		go pass(ctx, outer.(*net.TCPConn), inside)
	}
}

func compare(a, b Service) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
}

// tell reports the Services with the present state of their doors. The caller holds the lock.
func (p *Publisher) tell() {
	told := slices.Clone(p.services)
	for i := range told {
		told[i].Ports = slices.Clone(told[i].Ports)
		for j := range told[i].Ports {
			port := &told[i].Ports[j]
			if d := p.doors[netip.AddrPortFrom(told[i].Address, port.Number)]; d != nil {
				port.Open, port.Problem = d.open, d.problem
			}
		}
	}
	p.Changed(told)
}

// door is one published port.
type door struct {
	close context.CancelFunc
	// The lock of the publisher guards these.
	open    bool
	problem string
}

func (p *Publisher) newDoor(ctx context.Context, inside, outside netip.AddrPort) *door {
	ctx, cancel := context.WithCancel(ctx)
	d := &door{close: cancel}
	go p.tend(ctx, d, inside, outside.String())
	return d
}

// tend opens and closes a door until ctx ends.
func (p *Publisher) tend(ctx context.Context, d *door, inside netip.AddrPort, outside string) {
	var listener net.Listener
	for ctx.Err() == nil {
		open, err := Listening(inside, p.Source)
		switch {
		case err == nil && open && listener == nil:
			if listener, err = p.Listen(outside); err == nil {
				go Serve(ctx, listener, inside.String())
			}
		case err == nil && !open && listener != nil:
			_ = listener.Close() // Connections that were accepted live on.
			listener = nil
		}
		p.set(ctx, d, listener != nil, problemOf(err, outside))
		select {
		case <-ctx.Done():
		case <-time.After(interval):
		}
	}
}

func problemOf(err error, outside string) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, unix.EADDRINUSE):
		return "another program of this machine listens on " + outside
	default:
		return err.Error()
	}
}

func (p *Publisher) set(ctx context.Context, d *door, open bool, problem string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil || d.open == open && d.problem == problem {
		return
	}
	if problem != "" {
		p.Log.Warn("a port is not published", "problem", problem)
	}
	d.open, d.problem = open, problem
	p.tell()
}

// pass carries bytes both ways. A connection that nobody takes inside is reset, as the best that is left.
func pass(ctx context.Context, outer *net.TCPConn, inside string) {
	defer outer.Close()
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp4", inside)
	if err != nil {
		_ = outer.SetLinger(0)
		return
	}
	inner := connection.(*net.TCPConn)
	defer inner.Close()
	defer context.AfterFunc(ctx, func() {
		_ = outer.Close()
		_ = inner.Close()
	})()
	var both sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{inner, outer}, {outer, inner}} {
		both.Go(func() {
			to, from := way[0], way[1]
			if _, err := io.Copy(to, from); err != nil {
				_ = to.SetLinger(0) // A reset is passed on as a reset.
				_ = from.Close()
				_ = to.Close()
				return
			}
			_ = to.CloseWrite()
		})
	}
	both.Wait()
}
