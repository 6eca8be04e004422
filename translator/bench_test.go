package translator

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// benchRoute is a route of its own host to one of 500 Services.
func benchRoute(i int, generation int64) *gwapiv1.HTTPRoute {
	name := fmt.Sprintf("r%d", i)
	r := &gwapiv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID(name),
		Generation: generation, CreationTimestamp: metav1.Unix(int64(i), 0),
	}}
	r.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "g"}}
	r.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(name + ".example.com")}
	ref := gwapiv1.HTTPBackendRef{}
	ref.Name, ref.Port = gwapiv1.ObjectName(fmt.Sprintf("s%d", i%500)), ptr[int32](80)
	r.Spec.Rules = []gwapiv1.HTTPRouteRule{{
		Matches: []gwapiv1.HTTPRouteMatch{{Path: &gwapiv1.HTTPPathMatch{
			Type:  ptr(gwapiv1.PathMatchPathPrefix),
			Value: ptr(fmt.Sprintf("/v%d", generation)),
		}}},
		BackendRefs: []gwapiv1.HTTPBackendRef{ref},
	}}
	return r
}

func benchSlice(i, last int) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "n", Name: fmt.Sprintf("s%d", i),
			Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("s%d", i)},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr[int32](8080)}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{fmt.Sprintf("10.1.%d.%d", i%250, last%250)},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)},
		}},
	}
}

func benchService(i int, port int32) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: fmt.Sprintf("s%d", i)},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: port}}},
	}
}

// benchEvents make a Gateway with n routes of 500 Services, and a listener with a certificate.
func benchEvents(n int) []Event {
	events := []Event{
		{Object: &gwapiv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: "c", Generation: 1},
			Spec:       gwapiv1.GatewayClassSpec{ControllerName: controllerName},
		}},
		{Object: &gwapiv1.Gateway{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "g", Generation: 1},
			Spec: gwapiv1.GatewaySpec{GatewayClassName: "c", Listeners: []gwapiv1.Listener{
				{Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80},
				{
					Name: "https", Protocol: gwapiv1.HTTPSProtocolType, Port: 443,
					Hostname: ptr(gwapiv1.Hostname("secure.example.org")),
					TLS:      &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "tls"}}},
				},
			}},
		}},
		{Object: benchSecret(0)},
	}
	for i := range 500 {
		events = append(events, Event{Object: benchSlice(i, 1)}, Event{Object: benchService(i, 80)})
	}
	for i := range n {
		events = append(events, Event{Object: benchRoute(i, 1)})
	}
	return events
}

func benchWorld(b testing.TB, n int) *World {
	b.Helper()
	w := newWorld(b)
	if _, err := w.Apply(benchEvents(n)); err != nil {
		b.Fatal(err)
	}
	return w
}

// atScale runs a change at growing sizes: its cost must not grow but for the concatenation of the route configuration.
func atScale(b *testing.B, change func(b *testing.B, w *World, i int)) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			w := benchWorld(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				change(b, w, i)
			}
		})
	}
}

func apply(b testing.TB, w *World, o Object) {
	if _, err := w.Apply([]Event{{Object: o}}); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRoute(b *testing.B) {
	atScale(b, func(b *testing.B, w *World, i int) { apply(b, w, benchRoute(7, int64(i+2))) })
}

func BenchmarkEndpointSlice(b *testing.B) {
	atScale(b, func(b *testing.B, w *World, i int) { apply(b, w, benchSlice(7, i+2)) })
}

func BenchmarkSecret(b *testing.B) {
	atScale(b, func(b *testing.B, w *World, i int) { apply(b, w, benchSecret(i+1)) })
}

// secureSet is a ListenerSet with an HTTPS listener for one host, which is another one in each generation.
func secureSet(i int, generation int64) *gwapiv1.ListenerSet {
	name := fmt.Sprintf("set%d", i)
	return &gwapiv1.ListenerSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name), Generation: generation},
		Spec: gwapiv1.ListenerSetSpec{ParentRef: gwapiv1.ParentGatewayReference{Name: "g"}, Listeners: []gwapiv1.ListenerEntry{{
			Name: "https", Protocol: gwapiv1.HTTPSProtocolType, Port: 443,
			Hostname: ptr(gwapiv1.Hostname(fmt.Sprintf("v%d.%s.example.com", generation, name))),
			TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{
				{Name: gwapiv1.ObjectName(fmt.Sprintf("tls%d", i))},
			}},
		}}},
	}
}

// setsWorld is a Gateway with ListenerSets. Each has its own certificate (ownSecret).
func setsWorld(t testing.TB, n int) *World {
	t.Helper()
	events := benchEvents(0)
	events[1].Object.(*gwapiv1.Gateway).Spec.AllowedListeners = &gwapiv1.AllowedListeners{
		Namespaces: &gwapiv1.ListenerNamespaces{From: ptr(gwapiv1.NamespacesFromSame)},
	}
	for i := range n {
		events = append(events, Event{Object: secureSet(i, 1)}, Event{Object: ownSecret(i, 0)})
	}
	w := newWorld(t)
	if _, err := w.Apply(events); err != nil {
		t.Fatal(err)
	}
	return w
}

// ownSecret is the certificate of secureSet(i), one of two in turn.
func ownSecret(i, version int) *corev1.Secret {
	s := benchSecret(version)
	s.Name = fmt.Sprintf("tls%d", i)
	s.UID = types.UID(s.Name)
	return s
}

func withSets(b *testing.B, change func(b *testing.B, w *World, i int)) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("sets=%d", n), func(b *testing.B) {
			w := setsWorld(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				change(b, w, i)
			}
		})
	}
}

// BenchmarkListenerSet changes one of many listeners of a port. Envoy's listener has all of them, so its bytes grow with
// their number.
func BenchmarkListenerSet(b *testing.B) {
	withSets(b, func(b *testing.B, w *World, i int) { apply(b, w, secureSet(7, int64(i+2))) })
}

// BenchmarkRotation renews one of many certificates of a port.
func BenchmarkRotation(b *testing.B) {
	withSets(b, func(b *testing.B, w *World, i int) { apply(b, w, ownSecret(7, i+1)) })
}

// routePolicy is a policy of a route of benchWorld.
func routePolicy(i int, generation int64) *v1alpha1.BackendTrafficPolicy {
	name := fmt.Sprintf("r%d", i)
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID(name), Generation: generation, CreationTimestamp: metav1.Unix(int64(i), 0),
	}}
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
			Group: gwapiv1.GroupName, Kind: "HTTPRoute", Name: gwapiv1.ObjectName(name),
		},
	}}
	p.Spec.Timeout = &v1alpha1.Timeout{HTTP: &v1alpha1.HTTPTimeout{
		RequestTimeout: ptr(gwapiv1.Duration(fmt.Sprintf("%ds", generation))),
	}}
	return p
}

// BenchmarkRoutePolicy changes the policy of one of many routes that have a policy each. It should take at most twice as
// long as BenchmarkRoute.
func BenchmarkRoutePolicy(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			w := benchWorld(b, n)
			policies := make([]Event, n)
			for i := range policies {
				policies[i].Object = routePolicy(i, 1)
			}
			if _, err := w.Apply(policies); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				apply(b, w, routePolicy(7, int64(i+2)))
			}
		})
	}
}

// BenchmarkGatewayPolicy is about every route, so it does grow with their number.
func BenchmarkGatewayPolicy(b *testing.B) {
	atScale(b, func(b *testing.B, w *World, i int) { apply(b, w, gatewayPolicy(int64(i+1))) })
}

// BenchmarkGatewayRanges changes a policy that covers every route, but no route. It should take at most three times as
// long as BenchmarkRoute.
func BenchmarkGatewayRanges(b *testing.B) {
	atScale(b, func(b *testing.B, w *World, i int) {
		if i == 0 { // It comes to be effective on every route.
			apply(b, w, rangesPolicy(500, 1))
			b.ResetTimer()
		}
		apply(b, w, rangesPolicy(500, int64(i+2)))
	})
}

func BenchmarkTryRoute(b *testing.B) {
	atScale(b, func(b *testing.B, w *World, i int) {
		if _, err := w.Try(b.Context(), benchRoute(7, int64(i+2))); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkTryEffectiveRoute is BenchmarkTryRoute with what the route does.
func BenchmarkTryEffectiveRoute(b *testing.B) {
	atScale(b, func(b *testing.B, w *World, i int) {
		if _, err := w.TryEffective(b.Context(), Event{Object: benchRoute(7, int64(i+2))}); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkTryEffectivePolicy is about every route.
func BenchmarkTryEffectivePolicy(b *testing.B) {
	atScale(b, func(b *testing.B, w *World, i int) {
		trial, err := w.TryEffective(b.Context(), Event{Object: gatewayPolicy(int64(i + 1))})
		if err == nil {
			_, err = trial.After.Data()
		}
		if err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkFill(b *testing.B) {
	for range b.N {
		benchWorld(b, 5000)
	}
}
