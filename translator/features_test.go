package translator

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"gatehouse/translator/status"
)

// TestFeaturesAreGatewayAPIs: each name is one of Gateway API's own, once, and in the order that the API asks for.
func TestFeaturesAreGatewayAPIs(t *testing.T) {
	known := features.SetsToNamesSet(features.AllFeatures)
	for _, s := range []Settings{{}, {InGatewayNamespace: true}} {
		names := s.Features(ClusterTrustBundles)
		for i, name := range names {
			if !known.Has(name) {
				t.Errorf("%q is no feature of Gateway API", name)
			}
			if i > 0 && names[i-1] >= name {
				t.Errorf("%q is listed after %q; want ascending names, each once", name, names[i-1])
			}
		}
		if got := slices.Contains(names, features.SupportGatewayInfrastructure); got != s.InGatewayNamespace {
			t.Errorf("%+v: GatewayInfrastructure listed: %v", s, got)
		}
	}
}

// TestClassesShowFeatures: a GatewayClass gets the list, whatever was there before, and one that has it is not written
// again.
func TestClassesShowFeatures(t *testing.T) {
	stale := []gwapiv1.SupportedFeature{{Name: "HTTPRoute"}, {Name: "Retired"}}
	class := &gwapiv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "c", UID: "c", Generation: 1}}
	class.Spec.ControllerName, class.Status.SupportedFeatures = controllerName, stale
	outcome, err := newWorld(t).Apply([]Event{{Object: class}})
	if err != nil || len(outcome.Statuses) != 1 {
		t.Fatalf("statuses %v, %v; want that of the class", outcome.Statuses, err)
	}
	written, change := outcome.Statuses[0].Merge(controllerName, class, metav1.Unix(1, 0))
	if change != status.Verdicts {
		t.Errorf("change %v; want the status to be written", change)
	}
	var got []features.FeatureName
	for _, f := range written.(*gwapiv1.GatewayClass).Status.SupportedFeatures {
		got = append(got, features.FeatureName(f.Name))
	}
	if diff := cmp.Diff(Settings{}.Features(), got); diff != "" {
		t.Errorf("supportedFeatures (-want +got):\n%s", diff)
	}
	if slices.Contains(got, features.SupportClusterTrustBundle) {
		t.Errorf("ClusterTrustBundle is listed, and the cluster does not serve the kind")
	}
	if !slices.Equal(class.Status.SupportedFeatures, stale) {
		t.Error("the object itself was changed")
	}
	if _, change := outcome.Statuses[0].Merge(controllerName, written, metav1.Unix(2, 0)); change != status.Nothing {
		t.Errorf("change %v of a status that is as wanted; want nothing", change)
	}
}

// TestFeatureOfAServedKind: a feature that needs a kind which not every cluster serves is listed while the cluster
// serves it, and no longer.
func TestFeatureOfAServedKind(t *testing.T) {
	world := newWorld(t)
	class := &gwapiv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "c", UID: "c", Generation: 1}}
	class.Spec.ControllerName = controllerName
	if _, err := world.Apply([]Event{{Object: class}}); err != nil {
		t.Fatal(err)
	}
	for _, served := range []bool{true, false} {
		outcome, err := world.Apply([]Event{{Served: &ClusterTrustBundles, Deleted: !served}})
		if err != nil || len(outcome.Statuses) != 1 {
			t.Fatalf("served %t: statuses %v, %v; want that of the class", served, outcome.Statuses, err)
		}
		written, _ := outcome.Statuses[0].Merge(controllerName, class, metav1.Unix(1, 0))
		listed := slices.ContainsFunc(written.(*gwapiv1.GatewayClass).Status.SupportedFeatures,
			func(f gwapiv1.SupportedFeature) bool {
				return features.FeatureName(f.Name) == features.SupportClusterTrustBundle
			})
		if listed != served {
			t.Errorf("served %t: ClusterTrustBundle listed: %t", served, listed)
		}
	}
}

// TestFeaturesOfDroppedFields: features that need a field are listed unless the cluster's CRD of Gateways does not have
// it.
func TestFeaturesOfDroppedFields(t *testing.T) {
	world := newWorld(t)
	class := &gwapiv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "c", UID: "c", Generation: 1}}
	class.Spec.ControllerName = controllerName
	for _, dropped := range [][]Field{{FieldListenerFilters}, Fields, {}} {
		events := []Event{{Object: class}}
		for _, field := range Fields {
			events = append(events, Event{Dropped: &field, Deleted: !slices.Contains(dropped, field)})
		}
		outcome, err := world.Apply(events)
		if err != nil || len(outcome.Statuses) != 1 {
			t.Fatalf("dropped %q: statuses %v, %v; want that of the class", dropped, outcome.Statuses, err)
		}
		written, _ := outcome.Statuses[0].Merge(controllerName, class, metav1.Unix(1, 0))
		for name, field := range map[features.FeatureName]Field{
			features.SupportGatewayListenerFilters:           FieldListenerFilters,
			features.SupportGatewayAddressRoutability:        FieldRoutability,
			features.SupportGatewayAddressRoutabilityCluster: FieldRoutability,
		} {
			listed := slices.Contains(written.(*gwapiv1.GatewayClass).Status.SupportedFeatures,
				gwapiv1.SupportedFeature{Name: gwapiv1.FeatureName(name)})
			if listed == slices.Contains(dropped, field) {
				t.Errorf("dropped %q: %s is listed: %t", dropped, name, listed)
			}
		}
	}
}
