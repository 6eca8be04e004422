package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// balancer hands out the load balancers' addresses of one family. One that was given back is used again as late as
// possible.
type balancer struct {
	pool   netip.Prefix
	last   netip.Addr
	owners map[netip.Addr]types.NamespacedName
	held   map[types.NamespacedName]netip.Addr
}

func newBalancer(pool netip.Prefix) *balancer {
	pool = pool.Masked()
	return &balancer{
		pool: pool, last: pool.Addr(), owners: map[netip.Addr]types.NamespacedName{},
		held: map[types.NamespacedName]netip.Addr{},
	}
}

var errNoAddress = errors.New("all addresses of load balancers are in use")

// learn takes over the address that a Service has from an earlier run.
func (b *balancer) learn(s *corev1.Service) {
	key := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil && wants(s) && a.BitLen() == b.pool.Addr().BitLen() {
			b.give(key, a)
		}
	}
}

// wants returns whether a Service is for this load balancer: it has the type, and no class that asks for another.
func wants(s *corev1.Service) bool {
	return s != nil && s.DeletionTimestamp == nil && s.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		s.Spec.LoadBalancerClass == nil
}

func (b *balancer) give(key types.NamespacedName, a netip.Addr) {
	b.release(key)
	b.owners[a] = key
	b.held[key] = a
}

func (b *balancer) release(key types.NamespacedName) {
	if a, ok := b.held[key]; ok {
		delete(b.owners, a)
		delete(b.held, key)
	}
}

// assign returns the Service's address: the one it asks for, if that is valid, the one it has, or else a free one.
func (b *balancer) assign(key types.NamespacedName, wish netip.Addr) (netip.Addr, error) {
	if wish.IsValid() {
		if owner, taken := b.owners[wish]; taken && owner != key {
			return wish, fmt.Errorf("spec.loadBalancerIP %s is in use by Service %s", wish, owner)
		}
		b.give(key, wish)
		return wish, nil
	}
	if held, has := b.held[key]; has {
		return held, nil
	}
	next := b.last
	for range 1 << (b.pool.Addr().BitLen() - b.pool.Bits()) {
		if next = next.Next(); !b.pool.Contains(next) {
			next = b.pool.Addr()
		}
		// The first and the last address are not handed out, as in any subnet.
		if _, taken := b.owners[next]; !taken && next != b.pool.Addr() && b.pool.Contains(next.Next()) {
			b.last = next
			b.give(key, next)
			return next, nil
		}
	}
	return netip.Addr{}, errNoAddress
}

// assign gives a Service an address of each of its families, in their order, and takes those of other families back.
// One that it asks for is of the family that this one is of.
func (p *Proxy) assign(key types.NamespacedName, s *corev1.Service) ([]corev1.LoadBalancerIngress, error) {
	var wish netip.Addr
	if text := s.Spec.LoadBalancerIP; text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil || !slices.Contains(s.Spec.IPFamilies, corev1.IPFamily(KindOf(a))) {
			return nil, fmt.Errorf("spec.loadBalancerIP %q is not an address of one of spec.ipFamilies, %v", text,
				s.Spec.IPFamilies)
		}
		wish = a
	}
	mode := corev1.LoadBalancerIPModeVIP
	var all []corev1.LoadBalancerIngress
	for _, kind := range s.Spec.IPFamilies {
		for _, n := range p.networks {
			if corev1.IPFamily(n.kind) != kind {
				continue
			}
			asked := wish
			if asked.IsValid() && KindOf(asked) != n.kind {
				asked = netip.Addr{}
			}
			a, err := n.balancer.assign(key, asked)
			if err != nil {
				return nil, err
			}
			all = append(all, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &mode})
		}
	}
	for _, n := range p.networks {
		if !slices.Contains(s.Spec.IPFamilies, corev1.IPFamily(n.kind)) {
			n.balancer.release(key)
		}
	}
	return all, nil
}

// balance gives a Service that wants them its addresses, and takes them back from one that does not.
func (p *Proxy) balance(ctx context.Context, key types.NamespacedName) error {
	s := p.service(key)
	if !wants(s) {
		for _, n := range p.networks {
			n.balancer.release(key)
		}
		return nil
	}
	ingress, err := p.assign(key, s)
	if err != nil {
		return fmt.Errorf("load balancer of Service %s: %w", key, err)
	}
	same := func(a, b corev1.LoadBalancerIngress) bool { return a.IP == b.IP }
	if slices.EqualFunc(s.Status.LoadBalancer.Ingress, ingress, same) {
		return nil
	}
	status := corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: ingress}}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": s.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("encode status of Service %s: %w", key, err)
	}
	_, err = p.client.CoreV1().Services(key.Namespace).Patch(ctx, key.Name, types.MergePatchType, body,
		metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("write address of Service %s: %w", key, err)
	}
	return nil
}
