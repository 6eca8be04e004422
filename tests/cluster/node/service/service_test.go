package service

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/tests/cluster/node/family"
	"gatehouse/tests/cluster/node/isolated"
)

func TestMain(m *testing.M) { isolated.Main(m) }

func ptr[T any](v T) *T { return &v }

// endpoint returns an endpoint whose state is ready, waiting or leaving.
func endpoint(addr, state string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: map[string]discoveryv1.EndpointConditions{
		"ready":   {Ready: ptr(true), Serving: ptr(true), Terminating: ptr(false)},
		"unset":   {},
		"waiting": {Ready: ptr(false), Serving: ptr(false), Terminating: ptr(false)},
		"leaving": {Ready: ptr(false), Serving: ptr(true), Terminating: ptr(true)},
		"broken":  {Ready: ptr(false), Serving: ptr(false), Terminating: ptr(true)},
	}[state]}
}

func slice(port string, number int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		AddressType: KindOf(netip.MustParseAddr(endpoints[0].Addresses[0])), Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: &port, Port: &number, Protocol: ptr(corev1.ProtocolTCP)}},
	}
}

func TestChains(t *testing.T) {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec: corev1.ServiceSpec{
			ClusterIPs: []string{"10.96.0.9", "fd00:10:96::9"}, ExternalIPs: []string{"2001:db8::1", "192.0.2.1"},
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP},
				{Name: "admin", Port: 81, Protocol: corev1.ProtocolTCP},
			},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "10.98.0.1", IPMode: ptr(corev1.LoadBalancerIPModeVIP)}}}},
	}
	frontends := map[discoveryv1.AddressType][]Frontend{}
	for _, a := range []string{"10.96.0.9", "10.98.0.1", "192.0.2.1", "2001:db8::1", "fd00:10:96::9"} {
		addr := netip.MustParseAddr(a)
		frontends[KindOf(addr)] = append(frontends[KindOf(addr)], Frontend{addr, 6, 80})
	}
	for name, tc := range map[string]struct {
		slices []*discoveryv1.EndpointSlice
		want   []string
		want6  []string
	}{
		"no endpoints": {},
		"ready ones": {
			[]*discoveryv1.EndpointSlice{slice("http", 8080, endpoint("10.244.0.3", "ready"),
				endpoint("10.244.0.2", "unset"), endpoint("10.244.0.4", "waiting"), endpoint("10.244.0.5", "leaving"))},
			[]string{"10.244.0.2:8080", "10.244.0.3:8080"},
			nil,
		},
		"of two slices, each once": {
			[]*discoveryv1.EndpointSlice{
				slice("http", 8080, endpoint("10.244.0.2", "ready")),
				slice("http", 8081, endpoint("10.244.0.3", "ready")), slice("http", 8080, endpoint("10.244.0.2", "ready")),
			},
			[]string{"10.244.0.2:8080", "10.244.0.3:8081"},
			nil,
		},
		"leaving ones if no other": {[]*discoveryv1.EndpointSlice{slice("http", 8080, endpoint("10.244.0.4", "waiting"),
			endpoint("10.244.0.5", "leaving"), endpoint("10.244.0.6", "broken"))}, []string{"10.244.0.5:8080"}, nil},
		"another port's": {
			[]*discoveryv1.EndpointSlice{slice("metrics", 8080, endpoint("10.244.0.4", "ready"))},
			nil, nil,
		},
		"of both families": {
			[]*discoveryv1.EndpointSlice{
				slice("http", 8080, endpoint("10.244.0.2", "ready")),
				slice("http", 8080, endpoint("fd00:10:244::2", "ready")),
			},
			[]string{"10.244.0.2:8080"},
			[]string{"[fd00:10:244::2]:8080"},
		},
	} {
		for kind, backends := range map[discoveryv1.AddressType][]string{
			discoveryv1.AddressTypeIPv4: tc.want,
			discoveryv1.AddressTypeIPv6: tc.want6,
		} {
			t.Run(name+" "+string(kind), func(t *testing.T) {
				var want []Chain
				if backends != nil {
					c := Chain{Name: "ns/web:http", Frontends: frontends[kind]}
					for _, b := range backends {
						c.Backends = append(c.Backends, netip.MustParseAddrPort(b))
					}
					want = []Chain{c}
				}
				if diff := cmp.Diff(want, Chains(kind, s, tc.slices), cmpopts.EquateComparable(netip.Addr{},
					netip.AddrPort{})); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestTableTakesEveryKindOfChange(t *testing.T) {
	isolated.Need(t)
	for _, f := range isolated.Families {
		t.Run(string(KindOf(f.Gateway)), func(t *testing.T) { takesEveryKindOfChange(t, f) })
	}
}

func takesEveryKindOfChange(t *testing.T, family family.Family) {
	table, err := NewTable(family.Services)
	if err != nil {
		t.Fatal(err)
	}
	// The addresses of IPv6 are those of IPv4 with a few more digits: fd00:10:96::1 for 10.96.0.1.
	of := func(text string) netip.AddrPort {
		a := netip.MustParseAddrPort(text)
		if o := a.Addr().As4(); family.Gateway.Is6() {
			return netip.MustParseAddrPort(fmt.Sprintf("[fd00:%d:%d::%d]:%d", o[0], o[1], o[3], a.Port()))
		}
		return a
	}
	chain := func(name, frontend string, backends ...string) Chain {
		f := of(frontend)
		c := Chain{Name: name, Frontends: []Frontend{{f.Addr(), 6, f.Port()}, {f.Addr(), 17, f.Port()}}}
		for _, b := range backends {
			c.Backends = append(c.Backends, of(b))
		}
		return c
	}
	for _, step := range []struct {
		name    string
		before  []string
		after   []Chain
		blocked []string
	}{
		{"make", nil, []Chain{
			chain("a", "10.96.0.1:80", "10.244.0.2:80", "10.244.0.3:80"),
			chain("b", "192.0.2.1:80", "10.244.0.2:80"),
		}, nil},
		{"more backends", []string{"a"}, []Chain{chain("a", "10.96.0.1:80", "10.244.0.2:80", "10.244.0.3:80",
			"10.244.0.4:81")}, nil},
		{
			"no change",
			[]string{"a"},
			[]Chain{chain("a", "10.96.0.1:80", "10.244.0.2:80", "10.244.0.3:80", "10.244.0.4:81")},
			nil,
		},
		{"another address", []string{"a"}, []Chain{chain("a", "10.96.0.2:80", "10.244.0.2:80")}, nil},
		{"the address moves", []string{"a", "b"}, []Chain{
			chain("c", "10.96.0.2:80", "10.244.0.2:80"),
			chain("b", "192.0.2.1:80", "10.244.0.9:80"),
		}, nil},
		{"an address is taken", nil, []Chain{chain("d", "10.96.0.2:80", "10.244.0.7:80")}, []string{"d"}},
		{"its owner goes", []string{"c", "d"}, []Chain{chain("d", "10.96.0.2:80", "10.244.0.7:80")}, nil},
		{"all go", []string{"b", "c", "d"}, nil, nil},
		{"all go again", []string{"b", "c", "d"}, nil, nil},
	} {
		blocked, err := table.Apply(step.before, step.after)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.blocked, blocked); diff != "" {
			t.Errorf("%s: blocked chains: %s", step.name, diff)
		}
	}
	chains, err := table.conn.ListChainsOfTableFamily(table.table.Family)
	if err != nil {
		t.Fatal(err)
	}
	if len(chains) != 5 {
		t.Errorf("%d chains are left, want only the 5 base chains: %v", len(chains), chains)
	}
	elements, err := table.conn.GetSetElements(table.services)
	if err != nil || len(elements) != 0 {
		t.Errorf("addresses are left: %v %v", elements, err)
	}
}
