package infra

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestNoClassOwnsAFleet: in the control plane's namespace no object of a fleet has an owner whose deletion would delete
// it, even if an earlier version set one.
func TestNoClassOwnsAFleet(t *testing.T) {
	f := newFixture(t)
	req := requirement("web")
	objects, err := Desired(*req, f.settings)
	if err != nil {
		t.Fatal(err)
	}
	class := metav1.OwnerReference{
		APIVersion: gwapiv1.GroupVersion.String(), Kind: "GatewayClass", Name: "eg",
		UID: "class-uid",
	}
	for _, o := range objects {
		o.SetOwnerReferences([]metav1.OwnerReference{class})
		if _, err := f.send(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	f.Set("shop/web", req)
	if err := f.Reconcile(t.Context(), "shop/web"); err != nil {
		t.Fatal(err)
	}
	found, err := f.list(t.Context(), client.MatchingLabels(ownerLabelsOf("shop/web")))
	if err != nil || len(found) != len(objects) {
		t.Fatalf("the fleet has %d objects, want %d: %v", len(found), len(objects), err)
	}
	for _, o := range found {
		if owners := o.GetOwnerReferences(); len(owners) > 0 {
			t.Errorf("%s is owned by %v", nameOf(o), owners)
		}
	}
}
