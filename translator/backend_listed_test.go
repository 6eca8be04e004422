package translator

import (
	"fmt"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// TestListedEndpointsAreLimited: a route whose rules share out requests among many long Backends, and fail over, has
// Envoy hold no more of their endpoints than it may, and is told so.
func TestListedEndpointsAreLimited(t *testing.T) {
	w := benchWorld(t, 0)
	w.tables.settings.EnabledKinds = []string{v1alpha1.KindBackend}
	var events []Event
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "n", Name: name, UID: "u", Generation: 1}
	}
	route := benchRoute(1, 1)
	route.Spec.Rules = nil
	group, kind := gwapiv1.Group(v1alpha1.GroupName), gwapiv1.Kind(v1alpha1.KindBackend)
	for i := range 16 {
		rule := gwapiv1.HTTPRouteRule{}
		for b := range 16 {
			ref := gwapiv1.HTTPBackendRef{}
			ref.Group, ref.Kind, ref.Name = &group, &kind, gwapiv1.ObjectName(fmt.Sprintf("b%d", b))
			ref.Weight = ptr(int32(1 + i)) // Each rule has a cluster of its own.
			rule.BackendRefs = append(rule.BackendRefs, ref)
		}
		route.Spec.Rules = append(route.Spec.Rules, rule)
	}
	for b := range 16 {
		backend := &v1alpha1.Backend{ObjectMeta: meta(fmt.Sprintf("b%d", b))}
		backend.Spec.Fallback = ptr(b == 0)
		for e := range 256 {
			ip := &v1alpha1.IPEndpoint{Address: fmt.Sprintf("10.1.%d.%d", b, e), Port: 80}
			backend.Spec.Endpoints = append(backend.Spec.Endpoints, v1alpha1.BackendEndpoint{IP: ip})
		}
		events = append(events, Event{Object: backend})
	}
	outcome, err := w.Apply(append(events, Event{Object: route}))
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			if r.Type != typeEndpoints {
				continue
			}
			assignment := &endpointv3.ClusterLoadAssignment{}
			if err := proto.Unmarshal(r.Body(), assignment); err != nil {
				t.Fatal(err)
			}
			for _, l := range assignment.Endpoints {
				held += len(l.LbEndpoints)
			}
		}
	}
	if held != maxListed {
		t.Errorf("Envoy holds %d endpoints of the route, want %d", held, maxListed)
	}
	told := 0
	for _, s := range outcome.Statuses {
		if _, ok := s.Object.(*gwapiv1.HTTPRoute); ok {
			told = len(s.Problems)
		}
	}
	if told != 14 {
		t.Errorf("%d rules are told that they list too many endpoints, want 14", told)
	}
}
