package translator

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/feature"
)

// layer4World has TCPRoutes, each on a listener of its own.
func layer4World(t *testing.T, routes int) *quarantined {
	q := newQuarantined(t, 1)
	gateway := benchEvents(0)[1].Object.(*gwapiv1.Gateway)
	gateway.Generation++
	events := []Event{{Object: gateway}}
	for i := range routes {
		name := fmt.Sprintf("tcp-%d", i)
		gateway.Spec.Listeners = append(gateway.Spec.Listeners, gwapiv1.Listener{
			Name: gwapiv1.SectionName(name), Protocol: gwapiv1.TCPProtocolType, Port: int32(9000 + i),
		})
		r := &gwapiv1.TCPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name), Generation: 1}}
		r.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "g", SectionName: ptr(gwapiv1.SectionName(name))}}
		ref := gwapiv1.BackendRef{}
		ref.Name, ref.Port = "s1", ptr[int32](80)
		r.Spec.Rules = []gwapiv1.TCPRouteRule{{BackendRefs: []gwapiv1.BackendRef{ref}}}
		events = append(events, Event{Object: r})
	}
	q.take(events...)
	return q
}

// TestRangesOfConnectionsAreComputedOnce: what a policy on the Gateway says about connections is computed once for the
// policy. All routes of layer 4 have this one copy. What the policy says about requests concerns none of them.
func TestRangesOfConnectionsAreComputedOnce(t *testing.T) {
	const routes = 20
	q := layer4World(t, routes)
	policy := rangesPolicy(500, 1)
	q.take(Event{Object: policy})
	if work := computed(q.World); work["connections of policies"] != 1 || work["bindings"] < routes {
		t.Errorf("a new policy computes %v", work)
	}
	copies := map[*feature.Sources]int{}
	for i := range routes {
		for _, b := range q.tables.forwardings.Lookup(q.engine.Read(), fmt.Sprintf("n/g/tcp-%d", i)) {
			copies[b.Value.Forward.Sources]++
		}
	}
	for sources, n := range copies {
		if n != routes || len(sources.Allowed) != 500 {
			t.Errorf("%d of %d routes have a copy of %v", n, routes, sources)
		}
	}
	policy = policy.DeepCopy()
	policy.Generation++
	policy.Spec.Authorization.Rules[0].Name = ptr("partners-of-all") // As long as the default, so that it costs the same.
	q.take(Event{Object: policy})
	if work := computed(q.World); work["effects of policies"] != 1 || work["bindings"] > 0 {
		t.Errorf("a change for requests only computes %v", work)
	}
	q.take(Event{Object: rangesPolicy(500, 3)})
	if work := computed(q.World); work["connections of policies"] != 1 || work["bindings"] != routes {
		t.Errorf("changed ranges compute %v", work)
	}
}

// TestConnectionsFailClosedWithoutNeededBackends: no connection is forwarded if a policy needs a backend with TLS, and
// the Gateway may not use the certificate that it would present to it.
func TestConnectionsFailClosedWithoutNeededBackends(t *testing.T) {
	w := newWorld(t)
	w.tables.needs = func(kind policies.Kind, _ policies.Object) []feature.Need {
		if kind.Kind != v1alpha1.KindBackendTrafficPolicy {
			return nil
		}
		ref := gwapiv1.BackendObjectReference{Name: "orders", Port: ptr[int32](80)}
		return []feature.Need{{Field: "server", Backend: feature.OneBackend(ref)}}
	}
	const objects = protected + `---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: plain}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {namespace: shop, name: plain}
spec: {parentRefs: [{name: web, sectionName: tcp}], rules: [{backendRefs: [{name: plain, port: 80}]}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {namespace: shop, name: server}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: TCPRoute, name: plain}]}
---`
	for _, certificate := range []string{
		"tls: {}",
		"tls: {backend: {clientCertificateRef: {name: s, namespace: other}}}",
	} {
		gateway := strings.Replace(securedBackend, "port: 80}]", "port: 80}, {name: tcp, protocol: TCP, port: 90}]", 1)
		gateway = strings.Replace(gateway, "tls: {backend: {clientCertificateRef: {name: s, namespace: %s}}}", certificate, 1)
		for _, o := range decode(t, []byte(strings.TrimSpace(objects+gateway))) {
			change(t, w, o, false)
		}
		bound := w.tables.forwardings.Lookup(w.engine.Read(), "shop/web/tcp")
		if len(bound) != 1 {
			t.Fatalf("%d routes are bound", len(bound))
		}
		served, want := len(bound[0].Value.Forward.Clusters) > 0, certificate == "tls: {}"
		if served != want {
			t.Errorf("with %s connections are forwarded: %t", certificate, served)
		}
	}
}
