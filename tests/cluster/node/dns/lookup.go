package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"gatehouse/tests/cluster/node/service"
)

// records are what is known of a name: of every type that it has, and addresses that go with SRV records.
type records struct {
	answers, extra []dns.RR
}

// lookup returns the records of a name in canonical form, to be written as it was asked for, and whether the name
// exists. A name may exist without any record of the wanted type.
func (s *Server) lookup(name, asked string) (records, bool) {
	rest, ok := strings.CutSuffix(strings.TrimSuffix(name, "."), s.domain)
	if !ok {
		return records{}, false
	}
	if rest == "" {
		return records{}, true
	}
	if !strings.HasSuffix(rest, ".") {
		return records{}, false // Another domain that only ends in the same letters.
	}
	labels := strings.Split(strings.TrimSuffix(rest, "."), ".")
	slices.Reverse(labels) // From the kind on: svc, namespace, service, ...
	kind, labels := labels[0], labels[1:]
	switch {
	case len(labels) == 0:
		return records{}, kind == "svc" || kind == "pod"
	case kind == "pod" && len(labels) == 2:
		for _, separator := range []string{".", ":"} {
			if addr, err := netip.ParseAddr(strings.ReplaceAll(labels[1], "-", separator)); err == nil {
				return records{answers: []dns.RR{address(asked, addr)}}, true
			}
		}
	case kind == "svc" && len(labels) == 1:
		return records{}, s.hasNamespace(labels[0])
	case kind == "svc":
		return s.service(types.NamespacedName{Namespace: labels[0], Name: labels[1]}, labels[2:], asked)
	}
	return records{}, false
}

func (s *Server) hasNamespace(name string) bool {
	return slices.ContainsFunc(s.services.List(), func(o any) bool {
		found, ok := o.(*corev1.Service)
		return ok && found.Namespace == name
	})
}

// service answers for a Service and for the names below it, of which below has the labels from the top.
func (s *Server) service(key types.NamespacedName, below []string, asked string) (records, bool) {
	o, ok, err := s.services.GetByKey(key.String())
	found, isService := o.(*corev1.Service)
	if err != nil || !ok || !isService {
		return records{}, false
	}
	if found.Spec.Type == corev1.ServiceTypeExternalName {
		target := &dns.CNAME{Hdr: header(asked, dns.TypeCNAME), Target: dns.Fqdn(found.Spec.ExternalName)}
		return records{answers: []dns.RR{target}}, len(below) == 0
	}
	hosts := s.hosts(found, key)
	if len(below) == 2 && strings.HasPrefix(below[0], "_") && strings.HasPrefix(below[1], "_") {
		return s.ports(found, hosts, below, asked)
	}
	var r records
	for _, h := range hosts {
		if len(below) == 0 || len(below) == 1 && below[0] == h.name {
			r.answers = append(r.answers, address(asked, h.addr))
		}
	}
	// A headless Service exists also while it has no endpoint.
	return r, len(below) == 0 || len(r.answers) > 0
}

// host is an address of a Service, with the label that it has below the Service if it is headless.
type host struct {
	name string
	addr netip.Addr
	// ports has the numbers of a headless Service's ports by name.
	ports map[string]uint16
}

func (s *Server) hosts(found *corev1.Service, key types.NamespacedName) []host {
	var hosts []host
	for _, text := range found.Spec.ClusterIPs {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			continue // It is None.
		}
		h := host{addr: addr, ports: map[string]uint16{}}
		for _, p := range found.Spec.Ports {
			h.ports[p.Name] = uint16(p.Port)
		}
		hosts = append(hosts, h)
	}
	if len(hosts) > 0 {
		return hosts
	}
	for _, slice := range service.Endpoints(s.slices, key) {
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue // These are names, not addresses.
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if e.Conditions.Ready != nil && !*e.Conditions.Ready && !found.Spec.PublishNotReadyAddresses {
				continue // It is not to be found until it is ready.
			}
			hosts = append(hosts, endpointHosts(e, slice.Ports)...)
		}
	}
	slices.SortFunc(hosts, func(a, b host) int { return a.addr.Compare(b.addr) })
	return slices.CompactFunc(hosts, func(a, b host) bool { return a.addr == b.addr && a.name == b.name })
}

func endpointHosts(e *discoveryv1.Endpoint, ports []discoveryv1.EndpointPort) []host {
	var hosts []host
	for _, text := range e.Addresses {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			continue // The API server has validated it.
		}
		h := host{name: strings.NewReplacer(".", "-", ":", "-").Replace(text), addr: addr, ports: map[string]uint16{}}
		if e.Hostname != nil && *e.Hostname != "" {
			h.name = *e.Hostname
		}
		for _, p := range ports {
			if p.Name != nil && p.Port != nil {
				h.ports[*p.Name] = uint16(*p.Port)
			}
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// ports answers for _port._protocol below a Service, for which below is [_protocol, _port].
func (s *Server) ports(found *corev1.Service, hosts []host, below []string, asked string) (records, bool) {
	i := slices.IndexFunc(found.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Name != "" && "_"+p.Name == below[1] && "_"+strings.ToLower(string(p.Protocol)) == below[0]
	})
	if i < 0 {
		return records{}, false
	}
	suffix := found.Name + "." + found.Namespace + ".svc." + s.domain + "."
	var r records
	for _, h := range hosts {
		target := suffix
		if h.name != "" {
			target = h.name + "." + suffix
		}
		number, ok := h.ports[found.Spec.Ports[i].Name]
		if !ok {
			continue // This endpoint does not serve the port.
		}
		r.extra = append(r.extra, address(target, h.addr))
		srv := &dns.SRV{Hdr: header(asked, dns.TypeSRV), Priority: 0, Weight: 100, Port: number, Target: target}
		if !slices.ContainsFunc(r.answers, func(other dns.RR) bool { return dns.IsDuplicate(other, srv) }) {
			r.answers = append(r.answers, srv) // A name with addresses of two families is told once.
		}
	}
	return r, true
}

func address(name string, addr netip.Addr) dns.RR {
	if addr.Is6() {
		return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: addr.AsSlice()}
	}
	return &dns.A{Hdr: header(name, dns.TypeA), A: addr.AsSlice()}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}
