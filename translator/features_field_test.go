package translator

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator/status"
)

// TestRoutabilityInStatus: each address in a Gateway's status tells its routability, be it the empty one, and a status
// that does not is written again. Where the CRD does not have the field no address tells it, and a status that is
// stored so is not written again.
func TestRoutabilityInStatus(t *testing.T) {
	w := newWorld(t)
	fleet := FleetStatus{Available: 1, Desired: 1, Addresses: append(ips("203.0.113.1"), inCluster("10.96.0.7")...)}
	fleet.Addresses[0].Routability = ptr(gwapiv1.GatewayAddressRoutabilityDefault)
	events := []Event{{Fleet: &FleetReport{Key: "shop/g", Fleet: fleet}}}
	for _, o := range decode(t, []byte(fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: %s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: shop}
spec: {gatewayClassName: eg, listeners: [{name: http, protocol: HTTP, port: 80}]}
`, controllerName))) {
		events = append(events, Event{Object: o})
	}
	stored := events[2].Object
	for _, step := range []struct {
		name   string
		events []Event
		told   bool
	}{
		{"with the field", events, true},
		{"the CRD without the field", []Event{{Dropped: ptr(FieldRoutability)}}, false},
		{"the CRD with the field again", []Event{{Dropped: ptr(FieldRoutability), Deleted: true}}, true},
	} {
		outcome, err := w.Apply(step.events)
		if err != nil {
			t.Fatal(err)
		}
		judged := outcome.Statuses[len(outcome.Statuses)-1]
		for _, s := range outcome.Statuses {
			if _, ok := s.Desired.(*gwapiv1.GatewayStatus); ok {
				judged = s
			}
		}
		written, change := judged.Merge(controllerName, stored, metav1.Unix(1, 0))
		if change != status.Verdicts {
			t.Fatalf("%s: change %v; want the status to be written", step.name, change)
		}
		stored = written
		addresses := stored.(*gwapiv1.Gateway).Status.Addresses
		for i, a := range addresses {
			if want := *fleet.Addresses[i].Routability; (a.Routability != nil) != step.told || step.told &&
				*a.Routability != want {
				t.Errorf("%s: the routability of %s is %v; want it told: %t", step.name, a.Value, a.Routability, step.told)
			}
		}
		if _, change := judged.Merge(controllerName, stored, metav1.Unix(2, 0)); len(addresses) != 2 ||
			change != status.Nothing {
			t.Errorf("%s: change %v of a status with the addresses %v that is stored as wanted", step.name, change,
				values(addresses))
		}
	}
}
