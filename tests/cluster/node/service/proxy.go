package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"gatehouse/tests/cluster/node/family"
)

// Proxy keeps the kernel's rules and the load balancers' addresses to what Services and EndpointSlices say.
type Proxy struct {
	client   kubernetes.Interface
	log      *slog.Logger
	services cache.Indexer
	slices   cache.Indexer
	networks []*network
	device   netlink.Link

	mu    sync.Mutex
	dirty map[types.NamespacedName]bool
	wake  chan struct{}

	// blocked are Services of which an address and port belong to another one, for now.
	blocked map[types.NamespacedName]bool
}

// network is the Proxy's part of one family.
type network struct {
	family.Family
	kind     discoveryv1.AddressType
	table    *Table
	balancer *balancer
	// chains are the names of each Service's chains, routed the addresses outside of the ranges that have a route.
	chains map[types.NamespacedName][]string
	routed map[netip.Addr]bool
}

// Config is what a Proxy works with.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Log       *slog.Logger
	// Families are the addresses that Services have. From the Gateways the node's clients reach them.
	Families []family.Family
}

// ByService is the index of EndpointSlices by the namespace and name of their Service.
const ByService = "service"

// Endpoints returns the EndpointSlices of a Service from an indexer that has the index ByService.
func Endpoints(slices cache.Indexer, service types.NamespacedName) []*discoveryv1.EndpointSlice {
	found, err := slices.ByIndex(ByService, service.String())
	if err != nil {
		panic(fmt.Sprintf("the index %s is missing: %v", ByService, err)) // New adds it.
	}
	all := make([]*discoveryv1.EndpointSlice, 0, len(found))
	for _, o := range found {
		if s, ok := o.(*discoveryv1.EndpointSlice); ok {
			all = append(all, s)
		}
	}
	return all
}

// New prepares the calling thread's network namespace and watches Services. The informers are the caller's to start.
func New(c Config) (*Proxy, error) {
	services, slices := c.Informers.Core().V1().Services().Informer(),
		c.Informers.Discovery().V1().EndpointSlices().Informer()
	err := slices.AddIndexers(cache.Indexers{ByService: func(o any) ([]string, error) {
		if s, ok := o.(*discoveryv1.EndpointSlice); ok {
			return []string{serviceOf(s).String()}, nil
		}
		return nil, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("index endpoint slices: %w", err)
	}
	p := &Proxy{
		client: c.Client, log: c.Log, services: services.GetIndexer(), slices: slices.GetIndexer(),
		dirty: map[types.NamespacedName]bool{}, wake: make(chan struct{}, 1),
	}
	if err := errors.Join(p.addDevice(), shortenTimeWait()); err != nil {
		return nil, err
	}
	for _, f := range c.Families {
		if err := p.addNetwork(f); err != nil {
			return nil, err
		}
	}
	for _, informer := range []cache.SharedIndexInformer{services, slices} {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    p.mark,
			UpdateFunc: func(_, o any) { p.mark(o) }, DeleteFunc: p.mark,
		})
		if err != nil {
			return nil, fmt.Errorf("watch Services: %w", err)
		}
	}
	return p, nil
}

// Run follows Services until ctx ends. The informers' caches must be full, so that no address is handed out twice.
func (p *Proxy) Run(ctx context.Context) error {
	for _, o := range p.services.List() {
		if s, ok := o.(*corev1.Service); ok {
			for _, n := range p.networks {
				n.balancer.learn(s)
			}
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		if err := p.sync(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("Bringing Services up to date failed and is tried again", "error", err)
			time.AfterFunc(time.Second, p.signal)
		}
	}
}

func serviceOf(s *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// mark remembers that a Service may have changed.
func (p *Proxy) mark(object any) {
	if missed, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = missed.Obj
	}
	var key types.NamespacedName
	switch o := object.(type) {
	case *corev1.Service:
		key = types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	case *discoveryv1.EndpointSlice:
		key = serviceOf(o)
	}
	p.mu.Lock()
	p.dirty[key] = true
	p.mu.Unlock()
	p.signal()
}

func (p *Proxy) signal() {
	select {
	case p.wake <- struct{}{}:
	default: // The next round will see it.
	}
}

// sync brings what has changed up to date. What fails is remembered for the next round.
func (p *Proxy) sync(ctx context.Context) error {
	p.mu.Lock()
	dirty := p.dirty
	p.dirty = map[types.NamespacedName]bool{}
	p.mu.Unlock()
	maps.Copy(dirty, p.blocked)
	err := p.apply(dirty)
	retry := map[types.NamespacedName]bool{}
	if err != nil {
		retry = dirty
	}
	for key := range dirty {
		if failed := p.balance(ctx, key); failed != nil {
			retry[key] = true
			err = errors.Join(err, failed)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range retry {
		p.dirty[key] = true
	}
	return err
}

// apply changes the kernel's rules.
func (p *Proxy) apply(dirty map[types.NamespacedName]bool) error {
	known := p.blocked
	p.blocked = map[types.NamespacedName]bool{}
	for _, n := range p.networks {
		blocked, err := p.applyTo(n, dirty)
		if err != nil {
			return err
		}
		for _, key := range blocked {
			if !known[key] && !p.blocked[key] {
				p.log.Warn("A Service's address and port belong to another Service", "service", key.String())
			}
			p.blocked[key] = true
		}
	}
	return nil
}

// applyTo changes the rules of one family, and returns the Services that go without some of theirs.
func (p *Proxy) applyTo(n *network, dirty map[types.NamespacedName]bool) ([]types.NamespacedName, error) {
	var before []string
	var after []Chain
	names := map[types.NamespacedName][]string{}
	owner := map[string]types.NamespacedName{}
	for key := range dirty {
		before = append(before, n.chains[key]...)
		for _, c := range Chains(n.kind, p.service(key), Endpoints(p.slices, key)) {
			after = append(after, c)
			names[key] = append(names[key], c.Name)
			owner[c.Name] = key
		}
	}
	if err := p.route(n, after); err != nil {
		return nil, err
	}
	without, err := n.table.Apply(before, after)
	if err != nil {
		return nil, err
	}
	for key := range dirty {
		delete(n.chains, key)
		if len(names[key]) > 0 {
			n.chains[key] = names[key]
		}
	}
	var blocked []types.NamespacedName
	for _, name := range without {
		blocked = append(blocked, owner[name])
	}
	return blocked, nil
}

func (p *Proxy) service(key types.NamespacedName) *corev1.Service {
	o, ok, err := p.services.GetByKey(key.String())
	if err != nil || !ok {
		return nil // A cache's only error is a bad key, which this is not.
	}
	s, _ := o.(*corev1.Service)
	return s
}

// addDevice makes a link for routes to Services, without which the node's own clients have no way to them. No packet
// ever leaves by it: each is translated or refused before.
func (p *Proxy) addDevice() error {
	const name = "services"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name +
		"-end"}); err != nil {
		return fmt.Errorf("add link %s: %w", name, err)
	}
	for _, end := range []string{name + "-end", name} {
		link, err := netlink.LinkByName(end)
		if err != nil {
			return fmt.Errorf("find link %s: %w", end, err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set link %s up: %w", end, err)
		}
		p.device = link
	}
	return nil
}

// addNetwork prepares for the Services of one family.
func (p *Proxy) addNetwork(f family.Family) error {
	table, err := NewTable(f.Services, f.LoadBalancers)
	if err != nil {
		return fmt.Errorf("netfilter rules of Services of %s: %w", f.Services, err)
	}
	n := &network{
		Family: f, kind: KindOf(f.Gateway), table: table, balancer: newBalancer(f.LoadBalancers),
		chains: map[types.NamespacedName][]string{}, routed: map[netip.Addr]bool{},
	}
	p.networks = append(p.networks, n)
	return errors.Join(p.addRoute(n, f.Services), p.addRoute(n, f.LoadBalancers))
}

// route makes routes to addresses outside of the ranges.
func (p *Proxy) route(n *network, chains []Chain) error {
	for _, c := range chains {
		for _, m := range n.table.members(c) {
			if m.set != n.table.extra || n.routed[m.addr] {
				continue // It lies in a range, or has been routed before.
			}
			if err := p.addRoute(n, netip.PrefixFrom(m.addr, m.addr.BitLen())); err != nil {
				return err
			}
			n.routed[m.addr] = true
		}
	}
	return nil
}

func (p *Proxy) addRoute(n *network, to netip.Prefix) error {
	err := netlink.RouteReplace(&netlink.Route{
		LinkIndex: p.device.Attrs().Index, Scope: unix.RT_SCOPE_LINK, Src: n.Gateway.AsSlice(), Dst: family.Net(to),
	})
	if err != nil {
		return fmt.Errorf("add route to %s: %w", to, err)
	}
	return nil
}
