package service

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestBalancer(t *testing.T) {
	b := newBalancer(netip.MustParsePrefix("10.98.0.0/29"))
	key := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: name} }
	balanced := func(wish string) *corev1.Service {
		return &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerIP: wish}}
	}
	old := balanced("")
	old.Namespace, old.Name = "ns", "old"
	old.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.98.0.2"}}
	b.learn(old)
	for _, step := range []struct{ name, wish, want string }{
		{"old", "", "10.98.0.2"},
		{"a", "", "10.98.0.1"},
		{"b", "", "10.98.0.3"},
		{"a", "", "10.98.0.1"},
		{"c", "10.98.0.3", "invalid IP"},
		{"c", "nonsense", "invalid IP"},
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
		got, err := b.assign(key(step.name), balanced(step.wish))
		if err != nil {
			got = netip.Addr{}
		}
		if got.String() != step.want {
			t.Errorf("%v: got %s (%v)", step, got, err)
		}
	}
}
