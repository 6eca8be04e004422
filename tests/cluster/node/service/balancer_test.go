package service

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestBalancer(t *testing.T) {
	b := newBalancer(netip.MustParsePrefix("10.98.0.0/29"))
	key := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: name} }
	old := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	old.Namespace, old.Name = "ns", "old"
	old.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "fd00:10:98::2"}, {IP: "10.98.0.2"}}
	b.learn(old)
	for _, step := range []struct{ name, wish, want string }{
		{"old", "", "10.98.0.2"},
		{"a", "", "10.98.0.1"},
		{"b", "", "10.98.0.3"},
		{"a", "", "10.98.0.1"},
		{"c", "10.98.0.3", "invalid IP"},
		{"c", "10.98.0.6", "10.98.0.6"},
		{"d", "192.0.2.1", "192.0.2.1"},
		{"e", "", "10.98.0.4"},
		{"-a", "", ""},
		{"f", "", "10.98.0.5"},
		{"g", "", "10.98.0.1"},
		{"h", "", "invalid IP"},
	} {
		if step.name[0] == '-' {
			b.release(key(step.name[1:]))
			continue
		}
		var wish netip.Addr
		if step.wish != "" {
			wish = netip.MustParseAddr(step.wish)
		}
		got, err := b.assign(key(step.name), wish)
		if err != nil {
			got = netip.Addr{}
		}
		if got.String() != step.want {
			t.Errorf("%v: got %s (%v)", step, got, err)
		}
	}
}

func TestAssign(t *testing.T) {
	p := &Proxy{}
	for _, pool := range []string{"10.98.0.0/29", "fd00:10:98::/125"} {
		within := netip.MustParsePrefix(pool)
		p.networks = append(p.networks, &network{kind: KindOf(within.Addr()), balancer: newBalancer(within)})
	}
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	for _, step := range []struct {
		name, wish string
		families   []corev1.IPFamily
		want       string
	}{
		{"a", "", []corev1.IPFamily{v4}, "10.98.0.1"},
		{"b", "", []corev1.IPFamily{v6, v4}, "fd00:10:98::1 10.98.0.2"},
		{"a", "", []corev1.IPFamily{v4, v6}, "10.98.0.1 fd00:10:98::2"},
		{"b", "", []corev1.IPFamily{v4}, "10.98.0.2"},
		{"c", "fd00:10:98::1", []corev1.IPFamily{v4, v6}, "10.98.0.3 fd00:10:98::1"},
		{"d", "10.98.0.3", []corev1.IPFamily{v4}, "error"},
		{"d", "fd00:10:98::5", []corev1.IPFamily{v4}, "error"},
		{"d", "nonsense", []corev1.IPFamily{v4}, "error"},
	} {
		ingress, err := p.assign(types.NamespacedName{Namespace: "ns", Name: step.name},
			&corev1.Service{Spec: corev1.ServiceSpec{LoadBalancerIP: step.wish, IPFamilies: step.families}})
		var texts []string
		for _, i := range ingress {
			texts = append(texts, i.IP)
		}
		if err != nil {
			texts = []string{"error"}
		}
		if got := strings.Join(texts, " "); got != step.want {
			t.Errorf("%v: got %s (%v)", step, got, err)
		}
	}
}
