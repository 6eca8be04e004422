package infra

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

// TestClusterIPs: a fleet whose Gateway changes to addresses inside the cluster is no longer exposed, and keeps its
// cluster IP. If its Gateway requests another cluster IP, its Service stays as it is, without all other changes, until
// it is created again. A value that is not a cluster IP is rejected, and this is reported.
func TestClusterIPs(t *testing.T) {
	// In the part of the range from which the API server gives none by itself while others are left.
	const free = "10.0.0.12"
	f := newFixture(t)
	asking := func(name, value string, port int32) *translator.Requirement {
		req := requirement(name)
		req.Ports[0].Port = port
		req.Gateway.Spec.Addresses = []gwapiv1.GatewaySpecAddress{{
			Routability: gwapiv1.GatewayAddressRoutabilityCluster,
			Value:       value,
		}}
		return req
	}
	service := func() *corev1.Service {
		t.Helper()
		s := &corev1.Service{}
		if err := f.Get(t.Context(), client.ObjectKey{Namespace: f.settings.ControllerNamespace, Name: Name("shop", "web")},
			s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	f.bring(t, "shop/web", requirement("web"))
	exposed := service()
	if exposed.Spec.Type != corev1.ServiceTypeLoadBalancer || exposed.Spec.Ports[0].NodePort == 0 {
		t.Fatalf("the Service of a Gateway that asks for nothing is %+v", exposed.Spec)
	}
	f.bring(t, "shop/web", asking("web", "", 80))
	inside := service()
	if inside.Spec.Type != corev1.ServiceTypeClusterIP || inside.Spec.Ports[0].NodePort != 0 ||
		inside.Spec.ClusterIP != exposed.Spec.ClusterIP {
		t.Errorf("the Service is exposed, or has lost its cluster IP %s: %+v", exposed.Spec.ClusterIP, inside.Spec)
	}

	f.bring(t, "shop/web", asking("web", free, 8080))
	if kept := service(); kept.Spec.ClusterIP != inside.Spec.ClusterIP || kept.Spec.Ports[0].Port != 8080 {
		t.Errorf("cluster IP %s and port %d; want %s and 8080", kept.Spec.ClusterIP, kept.Spec.Ports[0].Port,
			inside.Spec.ClusterIP)
	}
	if err := f.Delete(t.Context(), inside); err != nil {
		t.Fatal(err)
	}
	f.bring(t, "shop/web", asking("web", free, 8080))
	if made := service(); made.Spec.ClusterIP != free {
		t.Errorf("the Service that is made again has cluster IP %s", made.Spec.ClusterIP)
	}

	f.Set("shop/other", asking("other", "192.0.2.9", 80))
	if err := f.Reconcile(t.Context(), "shop/other"); err == nil || !stays(err) ||
		!strings.Contains(err.Error(), "192.0.2.9") {
		t.Errorf("an address that is not a cluster IP: %v", err)
	}
}
