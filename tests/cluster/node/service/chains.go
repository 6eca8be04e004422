// Package service makes Services work: it gives load balancers addresses and has the kernel send what is addressed to
// a Service to one of its endpoints.
package service

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Frontend is where clients send to.
type Frontend struct {
	Addr     netip.Addr
	Protocol byte // as in the IP header
	Port     uint16
}

// Chain is one port of a Service: what is sent to any of the frontends goes to one of the backends, by chance.
type Chain struct {
	Name      string
	Frontends []Frontend
	Backends  []netip.AddrPort
}

// Chains returns the chains of one family of a Service with these EndpointSlices, which may be nil. Ports without any
// usable endpoint have none, and so refuse connections.
func Chains(kind discoveryv1.AddressType, s *corev1.Service, endpoints []*discoveryv1.EndpointSlice) []Chain {
	if s == nil || s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	addrs := addresses(kind, s)
	var chains []Chain
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		protocol, known := protocols[p.Protocol]
		targets := backends(kind, p, endpoints)
		if !known || len(addrs) == 0 || len(targets) == 0 {
			continue // SCTP, a headless Service, or nobody to serve it: the kernel's answer is a refusal.
		}
		c := Chain{Name: s.Namespace + "/" + s.Name + ":" + cmp.Or(p.Name, "-"), Backends: targets}
		for _, a := range addrs {
			c.Frontends = append(c.Frontends, Frontend{a, protocol, uint16(p.Port)})
		}
		chains = append(chains, c)
	}
	return chains
}

var protocols = map[corev1.Protocol]byte{corev1.ProtocolTCP: unix.IPPROTO_TCP, corev1.ProtocolUDP: unix.IPPROTO_UDP}

// KindOf returns the type of the EndpointSlices whose addresses are of the family of this one.
func KindOf(a netip.Addr) discoveryv1.AddressType {
	if a.Is4() {
		return discoveryv1.AddressTypeIPv4
	}
	return discoveryv1.AddressTypeIPv6
}

// addresses returns the addresses of one family at which a Service is reached, in order and each once.
func addresses(kind discoveryv1.AddressType, s *corev1.Service) []netip.Addr {
	texts := slices.Concat(s.Spec.ClusterIPs, s.Spec.ExternalIPs)
	for _, i := range s.Status.LoadBalancer.Ingress {
		if i.IPMode == nil || *i.IPMode == corev1.LoadBalancerIPModeVIP {
			texts = append(texts, i.IP)
		}
	}
	var addrs []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && KindOf(a) == kind { // A cluster IP may be None.
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// backends returns the addresses of one family of the endpoints that serve a port: those that are ready, else those
// that still serve while they terminate, as the Kubernetes proxy does.
func backends(kind discoveryv1.AddressType, p *corev1.ServicePort,
	endpoints []*discoveryv1.EndpointSlice,
) []netip.AddrPort {
	var ready, leaving []netip.AddrPort
	for _, slice := range endpoints {
		if slice.AddressType != kind {
			continue
		}
		port, ok := portOf(p, slice)
		if !ok {
			continue // This slice serves the Service's other ports.
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			switch {
			case is(e.Conditions.Ready, true):
				ready = appendAddrs(ready, e, port)
			case is(e.Conditions.Serving, false) && is(e.Conditions.Terminating, false):
				leaving = appendAddrs(leaving, e, port)
			}
		}
	}
	if len(ready) == 0 {
		ready = leaving
	}
	slices.SortFunc(ready, netip.AddrPort.Compare)
	return slices.Compact(ready)
}

// portOf returns the number of a Service's port in a slice; ports belong together by name.
func portOf(p *corev1.ServicePort, slice *discoveryv1.EndpointSlice) (uint16, bool) {
	for _, e := range slice.Ports {
		name := ""
		if e.Name != nil {
			name = *e.Name
		}
		protocol := corev1.ProtocolTCP
		if e.Protocol != nil {
			protocol = *e.Protocol
		}
		if name == p.Name && protocol == p.Protocol && e.Port != nil {
			return uint16(*e.Port), true
		}
	}
	return 0, false
}

func appendAddrs(to []netip.AddrPort, e *discoveryv1.Endpoint, port uint16) []netip.AddrPort {
	for _, text := range e.Addresses {
		if a, err := netip.ParseAddr(text); err == nil { // The API server has validated it.
			to = append(to, netip.AddrPortFrom(a, port))
		}
	}
	return to
}

func is(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}
