package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// node is a node with addresses such as ExternalIP=192.0.2.1.
func node(name string, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, a := range addresses {
		kind, address, _ := strings.Cut(a, "=")
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{
			Type:    corev1.NodeAddressType(kind),
			Address: address,
		})
	}
	return n
}

func nodePort(namespace string, families ...corev1.IPFamily) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "edge", Labels: envoyproxy.OwnerLabels("shop", "web")},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIPs: []string{"10.0.0.7"}, IPFamilies: families,
			Ports: []corev1.ServicePort{{Port: 80}},
		},
	}
}

// reports collects what is put of the Gateway shop/web.
type reports struct {
	mu  sync.Mutex
	all []string
}

func (r *reports) put(events ...translator.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		var values []string
		for _, a := range e.Fleet.Fleet.Addresses {
			values = append(values, a.Value)
		}
		r.all = append(r.all, strings.Join(values, " "))
	}
}

func (r *reports) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return "none"
	}
	return r.all[len(r.all)-1]
}

func fleetsOver(r *reports, reader client.Reader) *Fleets {
	return &Fleets{Reader: reader, KeyOf: envoyproxy.KeyOf, Changed: func(string) {}, Put: r.put}
}

// TestNodePortAddresses: a Service of type NodePort is reached at the nodes, by their names, in the families that it
// has.
func TestNodePortAddresses(t *testing.T) {
	pair := []client.Object{
		node("b", "Hostname=b", "InternalIP=10.1.0.2", "InternalIP=2001:db8::2"),
		node("a", "InternalIP=10.1.0.1", "InternalIP=2001:db8::1", "ExternalIP=192.0.2.1", "ExternalDNS=a.example.com"),
	}
	var many []client.Object
	var first []string
	for i := range 40 {
		many = append(many, node(fmt.Sprintf("n%02d", 39-i), fmt.Sprintf("InternalIP=10.1.0.%d", 39-i)))
		if i < 16 {
			first = append(first, fmt.Sprintf("10.1.0.%d", i))
		}
	}
	static := nodePort("n", corev1.IPv4Protocol)
	static.Spec.ExternalIPs = []string{"198.51.100.9"}
	for name, c := range map[string]struct {
		nodes   []client.Object
		service *corev1.Service
		want    string
	}{
		"external before internal": {pair, nodePort("n", corev1.IPv4Protocol), "192.0.2.1 10.1.0.2"},
		"IPv6":                     {pair, nodePort("n", corev1.IPv6Protocol), "2001:db8::1 2001:db8::2"},
		"dual stack": {
			pair, nodePort("n", corev1.IPv4Protocol, corev1.IPv6Protocol),
			"192.0.2.1 2001:db8::1 10.1.0.2 2001:db8::2",
		},
		"many nodes": {many, nodePort("n", corev1.IPv4Protocol), strings.Join(first, " ")},
		"asked for":  {pair, static, "198.51.100.9"},
		"no nodes":   {nil, nodePort("n", corev1.IPv4Protocol), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var r reports
			f := fleetsOver(&r, fake.NewClientBuilder().WithScheme(NewScheme()).WithObjects(append(c.nodes,
				c.service)...).Build())
			f.event(t.Context(), c.service)
			if got := r.last(); got != c.want {
				t.Errorf("reached at %q, want %q", got, c.want)
			}
		})
	}
}

// TestNodesAreNoNewsUntilAnAddressChanges: what kubelets write all the time reports nothing, nor does anything once the
// Service is of another type.
func TestNodesAreNoNewsUntilAnAddressChanges(t *testing.T) {
	var r reports
	service, before := nodePort("n", corev1.IPv4Protocol), node("a", "InternalIP=10.1.0.1")
	c := fake.NewClientBuilder().WithScheme(NewScheme()).WithObjects(service, before).Build()
	f := fleetsOver(&r, c)
	f.event(t.Context(), service)
	f.nodeUpdated(t.Context(), before, before.DeepCopy())
	after := before.DeepCopy()
	after.Status.Addresses[0].Address = "10.1.0.9"
	if err := c.Status().Update(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	f.nodeUpdated(t.Context(), before, after)
	if want := []string{"10.1.0.1", "10.1.0.9"}; !slices.Equal(r.all, want) {
		t.Errorf("reports are %q, want %q", r.all, want)
	}
	service.Spec.Type, service.ResourceVersion = corev1.ServiceTypeClusterIP, ""
	if err := c.Update(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	f.event(t.Context(), service)
	f.nodesChanged(t.Context())
	if want := []string{"10.1.0.1", "10.1.0.9", "10.0.0.7"}; !slices.Equal(r.all, want) {
		t.Errorf("reports are %q, want %q", r.all, want)
	}
}

// TestNodesAreWatched goes through the informers: nodes that come, move and go.
func TestNodesAreWatched(t *testing.T) {
	s := newSeen(t)
	c := s.cache(t, "default")
	var r reports
	await := func(want string) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for r.last() != want {
			if time.Now().After(deadline) {
				t.Fatalf("reached at %q, want %q", r.last(), want)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	service, a, b := nodePort("default"), node("a", "InternalIP=10.1.0.1"), node("b", "InternalIP=10.1.0.2")
	service.Spec.ClusterIPs = nil
	t.Cleanup(func() { _ = s.Delete(context.Background(), service) })
	create := func(n *corev1.Node) {
		t.Helper()
		status := n.Status
		if err := s.Create(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Delete(context.Background(), n) })
		n.Status = status
		if err := s.Status().Update(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	create(a)
	if err := errors.Join(s.Create(t.Context(), service), fleetsOver(&r, c).Watch(t.Context(), c)); err != nil {
		t.Fatal(err)
	}
	await("10.1.0.1")
	create(b)
	await("10.1.0.1 10.1.0.2")
	if err := s.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	await("10.1.0.2")
	stored := &corev1.Node{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "b"}, stored); err != nil {
		t.Fatal(err)
	}
	if len(stored.Labels)+len(stored.Annotations)+len(stored.ManagedFields)+len(stored.Spec.Taints) > 0 {
		t.Errorf("more than its addresses is held of a node: %v", stored)
	}
}
