package translator

import (
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/feature"
)

// TestConnectionsFailClosedWithoutNeededBackends: no connection is forwarded if a policy needs a backend with TLS, and the
// Gateway may not use the certificate that it would present to it.
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
	for _, certificate := range []string{"tls: {}", "tls: {backend: {clientCertificateRef: {name: s, namespace: other}}}"} {
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
