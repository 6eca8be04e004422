package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// balancer hands out the load balancers' addresses. One that was given back is used again as late as possible.
type balancer struct {
	pool   netip.Prefix
	last   netip.Addr
	owners map[netip.Addr]types.NamespacedName
	held   map[types.NamespacedName]netip.Addr
}

func newBalancer(pool netip.Prefix) *balancer {
	pool = pool.Masked()
	return &balancer{pool: pool, last: pool.Addr(), owners: map[netip.Addr]types.NamespacedName{}, held: map[types.NamespacedName]netip.Addr{}}
}

var errNoAddress = errors.New("all addresses of load balancers are in use")

// learn takes over the address that a Service has from an earlier run.
func (b *balancer) learn(s *corev1.Service) {
	key := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil && wants(s) {
			b.give(key, a)
		}
	}
}

// wants returns whether a Service is for this load balancer: it has the type, and no class that asks for another.
func wants(s *corev1.Service) bool {
	return s != nil && s.DeletionTimestamp == nil && s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil
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

// assign returns the Service's address: the one it has, or asks for, or else a free one.
func (b *balancer) assign(key types.NamespacedName, s *corev1.Service) (netip.Addr, error) {
	held, has := b.held[key]
	if wish := s.Spec.LoadBalancerIP; wish != "" {
		a, err := netip.ParseAddr(wish)
		if err != nil || !a.Is4() {
			return a, fmt.Errorf("spec.loadBalancerIP %q is not an IPv4 address", wish)
		}
		if owner, taken := b.owners[a]; taken && owner != key {
			return a, fmt.Errorf("spec.loadBalancerIP %s is in use by Service %s", a, owner)
		}
		b.give(key, a)
		return a, nil
	}
	if has {
		return held, nil
	}
	next := b.last
	for range 1 << (32 - b.pool.Bits()) {
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

// balance gives a Service that wants one an address, and takes it back from one that does not.
func (p *Proxy) balance(ctx context.Context, key types.NamespacedName) error {
	s := p.service(key)
	if !wants(s) {
		p.balancer.release(key)
		return nil
	}
	addr, err := p.balancer.assign(key, s)
	if err != nil {
		return fmt.Errorf("load balancer of Service %s: %w", key, err)
	}
	if i := s.Status.LoadBalancer.Ingress; len(i) == 1 && i[0].IP == addr.String() {
		return nil
	}
	mode := corev1.LoadBalancerIPModeVIP
	status := corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: addr.String(), IPMode: &mode}}}}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": s.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("encode status of Service %s: %w", key, err)
	}
	_, err = p.client.CoreV1().Services(key.Namespace).Patch(ctx, key.Name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("write address of Service %s: %w", key, err)
	}
	return nil
}
